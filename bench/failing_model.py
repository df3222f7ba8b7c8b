"""A model for Triton's Python backend that fails as a request says; ``failures.py`` serves it.

It is copied into a version folder as `model.py`. `x`, float32[batch, 1], is how many seconds to
sleep before the answer; the request's parameter `order` asks for a failure instead. Every request
that it sees is written to the file that the model's parameter JOURNAL names, by its id, before
anything else happens: what is not there was never computed.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args: dict[str, Any]) -> None:
        """Sleep as long as the parameter LOAD_S says."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.journal = Path(parameters["JOURNAL"]["string_value"])
        time.sleep(float(parameters["LOAD_S"]["string_value"]))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Do to each request what it asks for."""
        answers: list[Any] = []
        for request in requests:
            with self.journal.open("a") as journal:
                journal.write(request.request_id() + "\n")
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            order = json.loads(request.parameters() or "{}").get("order", "")
            time.sleep(float(x.flat[0]))
            if order == "raise":
                raise ValueError("the model says no")
            if order == "die":
                os._exit(3)
            if order == "no response":
                answers.append(None)
            elif order.isdecimal():
                answers.append(failure("x" * int(order), "INTERNAL"))
            elif order == "large answer":
                answers.append(answer(np.zeros((1, 2_000_000), np.float32)))
            elif order == "":
                answers.append(answer(x))
            elif order != "short list":
                answers.append(failure("refused by the model", order))
        return answers


def answer(array: Any) -> Any:
    """Return a response."""
    return pb_utils.InferenceResponse([pb_utils.Tensor("y", array)])


def failure(text: str, code: str) -> Any:
    """Return a response that is an error of its own."""
    error = pb_utils.TritonError(text, getattr(pb_utils.TritonError, code))
    return pb_utils.InferenceResponse(error=error)
