"""From the INT8 ONNX of a version to TensorRT plans: checked anywhere, built where they run."""
