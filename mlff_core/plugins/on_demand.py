"""Attributes of a package that are imported at their first use, so that importing the package stays fast."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attributes_on_demand(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a package.

    Parameters
    ----------
    package
        Its ``__name__``.
    homes
        Name of each attribute, and the module of the package that defines it.

    Examples
    --------
    >>> attribute = attributes_on_demand("mlff_core.plugins", {"read_options": "options"})
    >>> attribute("read_options").__name__
    'read_options'
    """

    def attribute(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return attribute
