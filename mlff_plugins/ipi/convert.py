"""i-PI's door: bohr, hartree, columns and virials on its side; Å, eV, rows and stresses on ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.batch import AtomicBatch
from mlff_core.errors import UnsupportedError
from mlff_core.prediction import Prediction
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE
from mlff_plugins.ipi.protocol import Results, Structures

FORCE = EV_PER_HARTREE / ANGSTROM_PER_BOHR
"""1 hartree/bohr in eV/Å."""

PRESSURE = ANGSTROM_PER_BOHR**3 / EV_PER_HARTREE
"""1 eV/Å³ in hartree/bohr³."""


def repeated(template: AtomicBatch, n: int) -> AtomicBatch:
    """Return a batch of ``n`` copies of one structure."""
    return AtomicBatch(
        positions=template.positions.repeat(n, 1),
        atomic_numbers=template.atomic_numbers.repeat(n),
        cell=template.cell.repeat(n, 1, 1),
        pbc=template.pbc.repeat(n, 1),
        system_idx=torch.arange(n, device=template.device).repeat_interleave(template.n_atoms),
        charge=None if template.charge is None else template.charge.repeat(n),
        spin_multiplicity=None if template.spin_multiplicity is None else template.spin_multiplicity.repeat(n),
    )


def to_batch(structures: Structures, batch: AtomicBatch, has_cell: bool) -> AtomicBatch:
    """Return ``batch`` with i-PI's structures written into it: to make another at each step costs more.

    Parameters
    ----------
    structures
        Cells and positions, in bohr.
    batch
        As many structures, with the elements, periodicity, charges and multiplicities; see :func:`repeated`.
    has_cell
        Whether the structures are periodic. A cell means nothing to a molecule: there the batch's stays.
    """
    _write(structures.positions.reshape(-1, 3), batch.positions)
    if has_cell:
        _write(structures.cells.transpose(0, 2, 1), batch.cell)
    return batch


def from_prediction(prediction: Prediction, structures: Structures, volumes: Sequence[float] = ()) -> Results:
    """Return a prediction for i-PI's structures as i-PI takes it.

    The virial of a periodic structure is −stressᵀ × volume. That of a molecule is Σ r ⊗ F over its atoms, the same
    derivative, with no volume in it.

    Parameters
    ----------
    prediction
        Of ``structures``.
    structures
        Cells and positions, in bohr.
    volumes
        Of periodic structures, bohr³.

    Raises
    ------
    UnsupportedError
        The model gives no forces.
    """
    if prediction.forces is None:
        raise UnsupportedError("i-PI needs forces, which this model does not give")
    positions = structures.positions
    energies = _array(prediction.energy)
    forces = _array(prediction.forces).reshape(positions.shape) / FORCE
    if prediction.stress is not None:
        scales = np.array(volumes) * -PRESSURE
        virials = _array(prediction.stress).transpose(0, 2, 1) * scales[:, None, None]
    else:
        # Relative to an atom: the sum of the forces is zero, but only to the last digit.
        virials = forces.transpose(0, 2, 1) @ (positions - positions[:, :1])
    extras: list[dict[str, float]] = [{"energy": energy} for energy in energies.tolist()]
    if prediction.energy_std is not None:
        for extra, deviation in zip(extras, _array(prediction.energy_std).tolist(), strict=True):
            extra["energy_std"] = deviation
    return Results(
        energies=energies / EV_PER_HARTREE,
        forces=forces,
        virials=virials,
        extras=[json.dumps(extra) for extra in extras],
    )


def committee(members: Sequence[Results], calibration: float) -> Results:
    """Return the mean of several models' results, with each model's own in the extras, as i-PI's committees have them.

    Parameters
    ----------
    members
        Of two or more models for the same structures.
    calibration
        Factor from the spread of the energies to ``energy_std``, no unit.
    """
    energies = np.stack([member.energies for member in members], axis=1)
    forces = np.stack([member.forces for member in members], axis=1)
    virials = np.stack([member.virials for member in members], axis=1)
    n, n_members = energies.shape
    means = energies.mean(axis=1)
    deviations = calibration * energies.std(axis=1, ddof=1)
    extras = [
        {
            "energy": float(means[k]) * EV_PER_HARTREE,
            "energy_std": float(deviations[k]) * EV_PER_HARTREE,
            "committee_pot": energies[k].tolist(),
            "committee_force": forces[k].reshape(n_members, -1).tolist(),
            "committee_virial": virials[k].tolist(),
        }
        for k in range(n)
    ]
    return Results(
        energies=means,
        forces=forces.mean(axis=1),
        virials=virials.mean(axis=1),
        extras=[json.dumps(extra) for extra in extras],
    )


def _write(lengths: npt.NDArray[np.float64], tensor: torch.Tensor) -> None:
    """Write lengths in bohr into a tensor in Å; NumPy converts, in a fraction of torch's time for a few numbers."""
    if tensor.is_cpu and tensor.dtype in (torch.float32, torch.float64):
        np.multiply(lengths, ANGSTROM_PER_BOHR, out=tensor.numpy(), casting="same_kind")
    else:
        tensor.copy_(torch.from_numpy(lengths * ANGSTROM_PER_BOHR))


def _array(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    plain = tensor.is_cpu and not tensor.requires_grad
    array: npt.NDArray[Any] = tensor.numpy() if plain else tensor.numpy(force=True)
    return array if array.dtype == np.float64 else array.astype(np.float64)
