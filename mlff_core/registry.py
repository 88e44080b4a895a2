"""Names and paths of models, and :func:`load`, which opens either."""

from __future__ import annotations

from pathlib import Path

import torch

from mlff_core.checkpoint import load_checkpoint
from mlff_core.errors import InputError
from mlff_core.potential import Potential
from mlff_core.student import StudentPotential

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def load(name_or_path: str | Path, *, device: str = "auto", dtype: str = "float32", kernel: str = "auto") -> Potential:
    """Return a trained model, ready to predict.

    Parameters
    ----------
    name_or_path
        A shipped or registered name (``mlff models list``) or the path of a ``model.pt``.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    dtype
        ``"float32"`` or ``"float64"``.
    kernel
        ``"auto"`` or the name of a kernel.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or foreign.
    InputError
        Unknown device, dtype or kernel.
    """
    model, card = load_checkpoint(resolve(name_or_path))
    return StudentPotential(model, card, device=resolve_device(device), dtype=resolve_dtype(dtype), kernel=kernel)


def resolve(name_or_path: str | Path) -> Path:
    """Return the file behind a name or path."""
    return Path(name_or_path)


def resolve_device(device: str) -> torch.device:
    """Return the torch device of a name, ``"auto"`` being a GPU if there is one.

    Raises
    ------
    InputError
        The name means nothing to torch, or the device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device!r} cannot be used: {reason}; try auto or cpu") from error
    return resolved


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
