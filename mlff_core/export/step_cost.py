"""What a step of an exported file costs on this machine, as torch's operations and as the CPU kernel's operator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mlff_core.errors import MlffError, first_line
from mlff_core.export.operators import FUSED, PORTABLE
from mlff_core.export.writing import deprecation_silenced, edge_graph, for_card
from mlff_core.kernels.fused_modules import FusedStudent
from mlff_core.kernels.operator_library import is_built
from mlff_core.model.scripted import ScriptedStudent
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.examples import molecular_cluster
from mlff_core.structures.reading import batch_from_atoms

N_ATOMS = 48
"""Six molecules: the size of a drug molecule, for which most files are made."""
SKIN = 1.0
"""Å, of the neighbour list."""
SECONDS = 0.3
"""Time for each form, beside the first calls."""


def step_costs(potential: Potential) -> dict[str, Any]:
    """Return the shortest of some steps of each form, ms: energy, forces and neighbours of a cluster of molecules.

    Keys are ``n_atoms``, ``n_threads``, ``portable_ms`` and ``fused_ms``. ``fused_ms`` is None where the operator is
    not there, and ``without_fused`` then says why: it does not support the model, or its library would have to be
    compiled first, which takes half a minute.
    """
    atoms = for_card(molecular_cluster()[:N_ATOMS], potential.card)
    batch = batch_from_atoms(atoms, dtype=torch.float64)
    network = edge_graph(potential).model
    costs: dict[str, Any] = {
        "n_atoms": len(atoms),
        "n_threads": torch.get_num_threads(),
        f"{PORTABLE}_ms": _shortest(ScriptedStudent(network, SKIN), batch),
        f"{FUSED}_ms": None,
    }
    try:
        if is_built():
            return {**costs, f"{FUSED}_ms": _shortest(FusedStudent(network, SKIN), batch)}
        reason = "not compiled here yet; `mlff operators` does so"
    except MlffError as error:
        reason = first_line(error)
    return {**costs, "without_fused": reason}


def cost_line(costs: Mapping[str, Any]) -> str:
    """Return the result of :func:`step_costs` as words."""
    threads = "1 thread" if costs["n_threads"] == 1 else f"{costs['n_threads']} threads"
    fused = costs[f"{FUSED}_ms"]
    told = f"{fused:.3g} ms" if fused is not None else costs["without_fused"]
    return (
        f"a step of {costs['n_atoms']} atoms here, {threads}: operator={PORTABLE} {costs[f'{PORTABLE}_ms']:.3g} ms, "
        f"operator={FUSED} {told}"
    )


def _shortest(module: nn.Module, batch: AtomicBatch) -> float:
    """Return the shortest call of a module with energy and gradient, ms."""
    with deprecation_silenced():
        step = torch.jit.script(module.eval())
    noise = torch.Generator().manual_seed(0)

    def timed() -> float:
        moved = 0.01 * torch.randn(batch.positions.shape, generator=noise, dtype=torch.float64)
        positions = (batch.positions + moved).requires_grad_()
        start = time.perf_counter()
        step(batch.atomic_numbers, positions, batch.cell[0], False).backward()
        return 1e3 * (time.perf_counter() - start)

    for _ in range(3):  # torch optimises a module during its first calls
        timed()
    times, end = [timed()], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        times.append(timed())
    return min(times)
