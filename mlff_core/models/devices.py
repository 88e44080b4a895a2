"""Devices and precisions by the names that users type."""

from __future__ import annotations

import torch

from mlff_core.errors import InputError, first_line

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Precisions that a model computes in."""


def resolve_device(device: str) -> torch.device:
    """Return the torch device of a name, ``"auto"`` being a GPU if there is one.

    Raises
    ------
    InputError
        The name means nothing to torch, or the device is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # The tensor's own device has an index, which "cuda" lacks.
        return torch.zeros(1, device=torch.device(device)).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used: {first_line(error)}; try auto or cpu") from error


def resolve_dtype(dtype: str) -> torch.dtype:
    """Return the torch dtype of ``"float32"`` or ``"float64"``.

    Raises
    ------
    InputError
        Any other name.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]
