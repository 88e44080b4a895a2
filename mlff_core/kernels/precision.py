"""The precision of matrix products, which torch sets for the whole process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def tensor_cores(wanted: bool) -> Iterator[None]:
    """Let float32 products use tensor cores inside this context, if ``wanted``."""
    if not wanted:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
