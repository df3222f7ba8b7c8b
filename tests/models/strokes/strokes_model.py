"""A second model, nothing like an image net: tokens of free length beside a few numbers."""

import torch
from torch import nn

POSITIONS, PAD, NUMBERS, WIDTH = 64, 64, 4, 128


class Strokes(nn.Module):
    """A bag of embedded tokens and four numbers, mixed by linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(POSITIONS + 1, WIDTH)
        self.numbers = nn.Linear(NUMBERS, WIDTH)
        self.mixer = nn.Sequential(
            nn.Linear(2 * WIDTH, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()
        )
        self.head = nn.Linear(256, 10)

    def forward(self, tokens: torch.Tensor, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map int64[batch, length] and float32[batch, 4] to float32[batch, 10] and [batch, 256]."""
        present = (tokens != PAD).unsqueeze(-1).to(torch.float32)
        bag = (self.embedding(tokens) * present).sum(dim=1) / 8.0
        features = self.mixer(torch.cat([bag, self.numbers(numbers)], dim=1))
        return {"scores": self.head(features), "features": features}


def build() -> nn.Module:
    """Return the untrained network."""
    return Strokes()
