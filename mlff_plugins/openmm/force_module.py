"""The scripted module of a student and a list of atoms; needs torch, not OpenMM."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mlff_core.export.writing import deprecation_silenced, edge_graph
from mlff_core.potentials.interface import Potential
from mlff_plugins.openmm.fused_module import FusedForceModule
from mlff_plugins.openmm.script_module import ForceModule

DEFAULT_SKIN = 1.0
"""Å."""


def force_module(
    potential: Potential,
    atomic_numbers: Sequence[int],
    particles: Sequence[int] | None,
    periodic: bool,
    skin: float,
    *,
    fused: bool = False,
) -> torch.jit.ScriptModule:
    """Return the scripted module.

    ``particles`` are the indices it acts on, None for all; ``fused`` runs the CPU kernel instead of torch's graph.

    Raises
    ------
    UnsupportedError
        The potential is not a student, or the CPU kernel does not support it.
    BuildError
        The library of operators cannot be built here.
    """
    network = edge_graph(potential).model
    numbers = torch.tensor(list(atomic_numbers), dtype=torch.int64)
    indices = torch.tensor([] if particles is None else list(particles), dtype=torch.int64)
    kind = FusedForceModule if fused else ForceModule
    module = kind(network, numbers, indices, periodic, skin)
    with deprecation_silenced():
        scripted: torch.jit.ScriptModule = torch.jit.script(module.eval())
    return scripted
