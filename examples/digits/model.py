"""The reference network: a small residual convolutional net for 8 by 8 grey images.

Copy this file for a model of your own. Click Clean needs one thing from it: a function without
arguments that returns the untrained module (``factory`` in ``recipe.toml``).
"""

import torch
from torch import nn


class Residual(nn.Module):
    """Two 3 by 3 convolutions with batch norm and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``float32[batch, channels_in, h, w]`` to ``float32[batch, channels, h', w']``."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class DigitsNet(nn.Module):
    """0.7 million parameters: a stem, three residual stages, a linear head."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stages = nn.Sequential(
            Residual(width, width),
            Residual(width, 2 * width, stride=2),
            Residual(2 * width, 4 * width, stride=2),
            Residual(4 * width, 4 * width),
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map ``image`` float32[batch, 1, 8, 8] in 0..1 to ``logits`` float32[batch, 10]."""
        x = self.stages(self.stem(image))
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def build() -> nn.Module:
    """Return the untrained network; the checkpoint fills it."""
    return DigitsNet()
