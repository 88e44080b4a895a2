"""Checks of the bounds of settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlff_core.errors import InputError


def check_bounds(
    config: Any, least: Mapping[str, float], *, open_end: tuple[str, ...] = (), most: Mapping[str, float] | None = None
) -> None:
    """Refuse settings that are not finite, or outside their range.

    Parameters
    ----------
    config
        Object with the settings as attributes; those that are None are not checked.
    least, most
        Smallest and largest allowed value of each setting.
    open_end
        Names of the settings that must be above their smallest value, not equal to it.
    """
    largest = most or {}
    for name, bound in least.items():
        value = getattr(config, name)
        if value is None:
            continue
        if name in open_end and not value > bound:
            raise InputError(f"{name} must be above {bound}, got {value}")
        if not value >= bound:
            raise InputError(f"{name} must be at least {bound}, got {value}")
        if not (math.isfinite(value) and value <= largest.get(name, math.inf)):
            limit = f"at most {largest[name]:g}" if name in largest else "finite"
            raise InputError(f"{name} must be {limit}, got {value}")
