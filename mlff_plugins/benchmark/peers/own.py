"""The worker's script for models of this package; the arguments are MODEL, kernel and precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch

from mlff_core.models.opening import load
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_plugins.benchmark.machine import machine
from mlff_plugins.benchmark.peers.worker import Array, System


def _load(arguments: list[str]) -> Potential:
    model, kernel, dtype = arguments
    return load(model, device="cpu", dtype=dtype, kernel=kernel)


def prepare(system: System, arguments: list[str]) -> Callable[[Array], tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return the step of a simulation: neighbour list with a skin of 1 Å, energy and forces.

    Parameters
    ----------
    system
        The structures.
    arguments
        MODEL, kernel, precision.
    """
    potential = VerletPotential(_load(arguments))
    batch = AtomicBatch(
        torch.from_numpy(system.positions[0]),
        torch.from_numpy(system.numbers),
        torch.from_numpy(system.cells),
        torch.from_numpy(system.pbc),
        torch.from_numpy(system.system_idx),
    ).to(dtype=potential.dtype)

    def step(positions: Array) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        prediction = potential.predict(batch.with_positions(torch.from_numpy(positions).to(batch.dtype)))
        return prediction.energy.numpy(), prediction.need("forces", potential.card.name).numpy()

    return step


def describe(arguments: list[str]) -> dict[str, Any]:
    """Return versions, size and kernel."""
    potential = _load(arguments)
    kernel = getattr(potential, "kernel", None)
    return {
        "model": f"{potential.card.name}, {potential.card.n_parameters} parameters",
        "kernel": " ".join(filter(None, (getattr(kernel, "name", ""), getattr(kernel, "variant", "")))),
        "neighbours": "vesin, Verlet skin of 1 Å",
        "versions": machine(potential.device)["versions"],
    }
