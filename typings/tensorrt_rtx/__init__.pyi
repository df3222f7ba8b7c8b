# TensorRT-RTX's builder has the same Python API as TensorRT's, as far as Click Clean uses it.
from tensorrt import *
from tensorrt import __version__ as __version__
