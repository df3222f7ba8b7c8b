"""A correct ensemble of a Python model and an ONNX model."""

from tests.export.repository_lint.repositories import ONNX, PYTHON
from tests.export.repository_lint.trees import Tree

ENSEMBLE_TEXT = """\
platform: "ensemble"
max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 4 ] } ]
ensemble_scheduling {
  step [
    {
      model_name: "pre"
      model_version: -1
      input_map { key: "TEXT" value: "text" }
      output_map { key: "IDS" value: "ids" }
    },
    {
      model_name: "net"
      model_version: -1
      input_map { key: "x" value: "ids" }
      output_map { key: "y" value: "scores" }
    }
  ]
}
"""
PRE_TEXT = """\
backend: "python"
max_batch_size: 8
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "IDS" data_type: TYPE_FP32 dims: [ 3, 8 ] } ]
"""
ALL, PRE = "all/config.pbtxt", "pre/config.pbtxt"
ENSEMBLE: Tree = {
    **ONNX,
    ALL: ENSEMBLE_TEXT,
    "all/1/": "",
    PRE: PRE_TEXT,
    "pre/1/model.py": PYTHON["net/1/model.py"],
}
