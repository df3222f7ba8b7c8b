"""Correct repositories, to be broken, and what a planted mistake is."""

from dataclasses import dataclass

from clickclean_export.repository_lint.catalogue import RULES
from tests.export.repository_lint.trees import (
    Edit,
    Tree,
    onnx_bytes,
)

SERVER = "https://github.com/triton-inference-server/server/issues/"
SOURCES = {rule.code: rule.source for rule in RULES}
CONFIG = "net/config.pbtxt"

NET = """\
name: "net"
backend: "onnxruntime"
max_batch_size: 8
version_policy { specific { versions: [ 1 ] } }
input [
  {
    name: "x"
    data_type: TYPE_FP32
    dims: [ 3, 8 ]
  }
]
output [
  {
    name: "y"
    data_type: TYPE_FP32
    dims: [ 4 ]
  }
]
"""
ONNX: Tree = {CONFIG: NET, "net/1/model.onnx": onnx_bytes()}
PLAN: Tree = {
    CONFIG: NET.replace('backend: "onnxruntime"', 'platform: "tensorrt_plan"'),
    "net/1/model.plan": b"plan",
}
PYTHON: Tree = {
    CONFIG: NET.replace("onnxruntime", "python"),
    "net/1/model.py": "class TritonPythonModel:\n    def execute(self, requests):\n        pass\n",
}
OPENVINO: Tree = {
    CONFIG: NET.replace("onnxruntime", "openvino"),
    "net/1/model.xml": "<net/>",
    "net/1/model.bin": b"weights",
}


def more(tree: Tree, text: str, name: str = CONFIG) -> Tree:
    """The tree with text added to a config."""
    config = tree[name]
    assert isinstance(config, str)
    return {**tree, name: config + text}


def add(text: str, name: str = CONFIG) -> Edit:
    return lambda tree: more(tree, text, name)


@dataclass(frozen=True)
class Case:
    """A mistake.

    Attributes:
        code: Of the finding that names it.
        tree: The correct repository.
        edit: What breaks it.
        thread: Where somebody made it; "" if the rule's own source is all there is.
        words: What the sentence or the hint must say.
        slo_ms, fleet: How it is looked at.
    """

    code: str
    tree: Tree
    edit: Edit
    thread: str = ""
    words: str = ""
    slo_ms: float | None = None
    fleet: str | None = None

    @property
    def source(self) -> str:
        return self.thread or SOURCES[self.code]
