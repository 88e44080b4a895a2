"""``import mlff_core.operators`` registers the operators that fused files call, before such a file is opened.

A program without this package loads the same library by its path, which ``mlff operators`` prints:
``torch.ops.load_library(path)`` in Python, ``dlopen`` in C++. It belongs to one version of torch.
"""

from __future__ import annotations

from mlff_core.kernels.operator_library import library_path, load_operators

__all__ = ["library_path"]

load_operators()
