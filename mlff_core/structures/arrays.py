"""Checks of arrays from files and callers: real numbers, none masked."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlff_core.errors import InputError


def refuse_masked_or_complex(name: str, value: Any) -> None:
    """Refuse an array whose mask or imaginary part would be dropped silently.

    Raises
    ------
    InputError
        Entries are masked, or the numbers are complex.
    """
    if type(value) is np.ndarray and value.dtype.kind != "c":  # the usual case, checked at almost no cost
        return
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(
            f"{name} has {np.ma.count_masked(value)} masked entries, which have no value; fill them in or leave out "
            "what they belong to"
        )
    if "complex" in str(getattr(value, "dtype", "")):
        raise InputError(f"{name} must be real numbers, got complex ones; take their real part if that is meant")
