"""Conversion between torch-sim's ``SimState`` and the core's types. Units are the same; its cells are columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch_sim
from ase.data import atomic_masses
from torch import Tensor

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.prediction import Prediction


def to_batch(state: torch_sim.SimState | Mapping[str, Any]) -> AtomicBatch:
    """Return a state as a batch; charge and spin are read from where torch-sim 0.6 stores them.

    Raises
    ------
    InputError
        The spin is not zero, so its meaning is ambiguous.
    """
    if isinstance(state, Mapping):
        state = torch_sim.SimState(**{"masses": torch.ones_like(state["positions"][:, 0]), **state})
    cell = state.cell.detach().mT
    # torch-sim 0.3 has one bool for all directions, 0.6 one for each.
    pbc = torch.as_tensor(state.pbc, dtype=torch.bool, device=cell.device).expand(cell.shape[0], 3)
    charge, spin = getattr(state, "charge", None), getattr(state, "spin", None)
    if isinstance(spin, Tensor) and bool(spin.any()):
        raise InputError(
            f"a spin of {spin[spin != 0][0].item():g} may mean S, 2S or 2S + 1; only 0, a singlet, is served"
        )
    return AtomicBatch(
        positions=state.positions.detach(),
        atomic_numbers=state.atomic_numbers.to(torch.int64),
        cell=cell,
        pbc=pbc,
        system_idx=state.system_idx.to(torch.int64),
        charge=charge if isinstance(charge, Tensor) else None,
    )


def from_prediction(prediction: Prediction) -> dict[str, Tensor]:
    """Return the results that torch-sim expects of a model, with its names.

    The energy stays in float64: in float32 it would be exact to meV only.
    """
    names = ("energy", "forces", "stress", "charges", "dipole")
    found: dict[str, Tensor | None] = {name: getattr(prediction, name) for name in names}
    return {name: tensor.detach() for name, tensor in found.items() if tensor is not None}


def state_from_batch(batch: AtomicBatch) -> torch_sim.SimState:
    """Return a batch as a state.

    Raises
    ------
    UnsupportedError
        Structures of different periodicity (a state has one for all), slabs, nonzero charges, and multiplicities other
        than 1.
    """
    pbc = batch.pbc[0]
    if not bool((batch.pbc == pbc).all()):
        raise UnsupportedError("torch-sim has one pbc for all systems of a batch, but these differ; give them apart")
    if bool(pbc.any()) and not bool(pbc.all()):
        raise UnsupportedError(
            "the engine torchsim supports molecules and crystals, but this structure has pbc along some directions; "
            "use another engine for slabs"
        )
    if batch.charge is not None and bool((batch.charge != 0).any()):
        raise UnsupportedError("a total charge does not reach the model through this engine; use another one")
    if batch.spin_multiplicity is not None and bool((batch.spin_multiplicity != 1).any()):
        raise UnsupportedError("a spin multiplicity does not reach the model through torch-sim; use another engine")
    masses = torch.as_tensor(atomic_masses, dtype=batch.dtype, device=batch.device)
    return torch_sim.SimState(
        positions=batch.positions,
        masses=masses[batch.atomic_numbers],
        cell=batch.cell.mT,
        pbc=bool(pbc.all()),
        atomic_numbers=batch.atomic_numbers,
        system_idx=batch.system_idx,
    )


def prediction_from_results(results: Sequence[Mapping[str, Tensor]]) -> Prediction:
    """Return the results of ``torch_sim.static`` for several systems as one prediction.

    Parameters
    ----------
    results
        For each system ``potential_energy`` (1,), eV; ``forces`` (n_atoms, 3), eV/Å; ``stress`` (1, 3, 3), eV/Å³,
        which is NaN for a molecule.
    """
    stress = None
    if "stress" in results[0]:
        stress = torch.cat([result["stress"].reshape(1, 3, 3) for result in results])
    return Prediction(
        energy=torch.cat([result["potential_energy"].reshape(1) for result in results]),
        forces=torch.cat([result["forces"] for result in results]),
        stress=None if stress is None or bool(stress.isnan().any()) else stress,
    )
