"""Opening of whatever a command takes as MODEL: a trained model, or a teacher by its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


def is_teacher(name: str) -> bool:
    """Return whether a teacher has this name, or a family of teachers has such a member."""
    from mlff_core.plugins import host as plugins

    found = plugins.host().providers("teacher")
    return any(provider.name == name or provider.for_name(name) is not None for provider in found)


def open_potential(
    name: str, options: Mapping[str, Any] | None = None, *, device: str, dtype: str, guard: str
) -> tuple[Potential, str]:
    """Return a model or teacher, and a hash that differs between any two of them.

    Parameters
    ----------
    name
        Name or path of a model, or name of a teacher.
    options
        Options of the teacher; ``device`` and ``dtype`` are passed on to a teacher that has options of these names.
    device, dtype, guard
        As in :func:`mlff_core.load`.

    Raises
    ------
    InputError
        Options are given for a model.
    """
    from mlff_core.models.checkpoint import file_sha256
    from mlff_core.models.opening import load
    from mlff_core.models.registry import resolve
    from mlff_core.plugins import host as plugins

    if is_teacher(name):
        source = plugins.teacher(name)
        source.ensure_installed()
        known = {key: value for key, value in {"device": device, "dtype": dtype}.items() if key in source.options}
        potential = source.load({**known, **(options or {})})
        lineage = json.dumps(potential.card.teacher, sort_keys=True, default=str)
        return potential, hashlib.sha256(lineage.encode()).hexdigest()
    if options:
        raise InputError(f"{name} is a model, which has no options of a teacher, got {', '.join(options)}")
    return load(name, device=device, dtype=dtype, guard=guard), file_sha256(resolve(name))
