"""Devices and precisions by name."""

from __future__ import annotations

import torch

from mlff_core.errors import InputError, first_line

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Precisions in which a model can compute, by name."""


def resolve_device(device: str) -> torch.device:
    """Return the torch device with this name; ``"auto"`` is a GPU if there is one, and otherwise the CPU.

    Raises
    ------
    InputError
        torch does not know the name, or the device does not exist.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # Taken from a tensor, so that it has an index, which "cuda" lacks.
        return torch.zeros(1, device=torch.device(device)).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used: {first_line(error)}; try auto or cpu") from error


def resolve_dtype(dtype: str) -> torch.dtype:
    """Return the torch dtype with the name ``"float32"`` or ``"float64"``.

    Raises
    ------
    InputError
        The name is another one.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]
