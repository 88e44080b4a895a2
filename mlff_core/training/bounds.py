"""Checks of the bounds of settings."""

from __future__ import annotations

from typing import Any

from mlff_core.errors import InputError


def check_bounds(config: Any, least: dict[str, float], *, open_end: tuple[str, ...] = ()) -> None:
    """Check that settings are not below their least value; those in ``open_end`` must be above it."""
    for name, bound in least.items():
        value = getattr(config, name)
        if value is None:
            continue
        if name in open_end and not value > bound:
            raise InputError(f"{name} must be above {bound}, got {value}")
        if not value >= bound:
            raise InputError(f"{name} must be at least {bound}, got {value}")
