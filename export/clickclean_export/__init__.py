"""From a PyTorch checkpoint to a proven version in a Triton model repository.

Reading order: ``recipe`` (what to do), ``publish`` (the chain), ``gates`` (what may refuse),
``repository`` (where it lands). Importing this package loads no heavy library.
"""
