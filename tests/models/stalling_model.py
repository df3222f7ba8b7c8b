"""A model for Triton's Python backend that can be made to stall; copied as `model.py`.

It answers zeros of the declared shape. While the file that its parameter MARKER names is there, it
computes nothing and answers nothing: what has come, and what comes, waits.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args: dict[str, Any]) -> None:
        config = json.loads(args["model_config"])
        self.marker = Path(config["parameters"]["MARKER"]["string_value"])
        self.input = config["input"][0]["name"]
        self.outputs = [(one["name"], list(map(int, one["dims"]))) for one in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        while self.marker.exists():
            time.sleep(0.005)
        answers = []
        for request in requests:
            rows = pb_utils.get_input_tensor_by_name(request, self.input).shape()[0]
            zeros = [
                pb_utils.Tensor(name, np.zeros((rows, *dims), np.float32))
                for name, dims in self.outputs
            ]
            answers.append(pb_utils.InferenceResponse(zeros))
        return answers
