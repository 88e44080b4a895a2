"""Launch of kernels: on a GPU, or on a CPU in Triton's interpreter if that was requested."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import torch

from mlff_core.errors import InputError, MissingDependencyError


def interpreted() -> bool:
    """Return whether kernels run in Triton's interpreter, which uses numpy on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


def check_device(device: torch.device) -> None:
    """Refuse a device on which no kernel can run.

    Raises
    ------
    MissingDependencyError
        Triton is not installed.
    InputError
        The device is not a GPU, and the interpreter was not requested.
    """
    if importlib.util.find_spec("triton") is None:
        raise MissingDependencyError(
            "the kernel 'triton' needs the package triton; install it with: pip install triton"
        )
    if device.type == "cuda" and interpreted():
        raise InputError("TRITON_INTERPRET=1 runs the kernel 'triton' on the CPU, but the model is on a GPU; unset it")
    if device.type != "cuda" and not (device.type == "cpu" and interpreted()):
        raise InputError(
            f"the kernel 'triton' needs a GPU, but the model is on {device}; use kernel='auto', or set "
            "TRITON_INTERPRET=1 before Python starts to run it, very slowly, in Triton's interpreter"
        )


def launch(kernel: Any, grid: Sequence[int], *arguments: Any, **constants: Any) -> None:
    """Run a kernel once for each point of the grid; an empty grid runs nothing."""
    if all(size > 0 for size in grid):
        kernel[tuple(grid)](*arguments, **constants)


def next_power_of_2(n: int, least: int = 16) -> int:
    """Return the smallest power of two that is at least ``n`` and ``least``."""
    return max(least, 1 << (n - 1).bit_length())
