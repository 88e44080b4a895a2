"""JSON as commands print and write it: only what every JSON reader accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mlff_core.errors import MlffError


def json_text(content: Any, indent: int | None = None, *, with_nulls: bool = False) -> str:
    """Return plain values as JSON.

    Parameters
    ----------
    content
        Numbers, strings, lists and mappings.
    indent
        As in :func:`json.dumps`.
    with_nulls
        Write ``null`` for NaN and infinity instead of refusing them; for reports on models that may be bad.

    Raises
    ------
    MlffError
        A number is NaN or infinite, which JSON does not have; the message says where it is.
    """
    if with_nulls:
        content = _with_nulls(content)
    try:
        return json.dumps(content, indent=indent, allow_nan=False)
    except ValueError as error:
        found = next(_not_finite(content, ""), None)
        if found is None:
            raise
        place, value = found
        raise MlffError(
            f"{place} is {value}, which JSON cannot hold; check the structures, and the model with `mlff models verify`"
        ) from error


def _with_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_nulls(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """Yield every number that is not finite, with its place such as ``[0].forces[2]``."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for k, item in enumerate(value):
            yield from _not_finite(item, f"{place}[{k}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, value
