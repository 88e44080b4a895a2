"""i-PI's door: bohr, hartree, columns and virials on its side; Å, eV, rows and stresses on ours."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.batch import AtomicBatch
from mlff_core.errors import UnsupportedError
from mlff_core.potential import volume
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


def to_batch(structures: Structures, templates: AtomicBatch) -> AtomicBatch:
    """Return i-PI's structures as a batch.

    Parameters
    ----------
    structures
        Cells and positions, in bohr.
    templates
        As many structures, with the elements, periodicity, charges and multiplicities, on the wanted device and in the
        wanted precision; see :func:`repeated`.
    """
    # A cell means nothing to a molecule: there the template's stays.
    has_cell = any(templates.pbc[0].tolist())
    return AtomicBatch(
        positions=_tensor(structures.positions.reshape(-1, 3), templates),
        atomic_numbers=templates.atomic_numbers,
        cell=_tensor(structures.cells.transpose(0, 2, 1), templates) if has_cell else templates.cell,
        pbc=templates.pbc,
        system_idx=templates.system_idx,
        charge=templates.charge,
        spin_multiplicity=templates.spin_multiplicity,
    )


def from_prediction(prediction: Prediction, structures: Structures) -> Results:
    """Return a prediction for i-PI's structures as i-PI takes it.

    The virial of a periodic structure is −stressᵀ × volume. That of a molecule is Σ r ⊗ F over its atoms, the same
    derivative, with no volume in it.

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
        # i-PI's columns and our rows have the same determinant.
        volumes = np.array([volume(cell) for cell in structures.cells.tolist()])
        virials = _array(prediction.stress).transpose(0, 2, 1) * (volumes * -PRESSURE)[:, None, None]
    else:
        # Relative to an atom: the sum of the forces is zero, but only to the last digit.
        virials = forces.transpose(0, 2, 1) @ (positions - positions[:, :1])
    extras = [{"energy": energy} for energy in energies.tolist()]
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


def _tensor(lengths: npt.NDArray[np.float64], like: AtomicBatch) -> torch.Tensor:
    """Return lengths in bohr as a tensor in Å; NumPy converts, since it needs a fraction of torch's time for little."""
    precision = np.float32 if like.dtype == torch.float32 else np.float64
    array = np.ascontiguousarray(lengths * ANGSTROM_PER_BOHR, dtype=precision)
    tensor = torch.from_numpy(array)
    is_there = like.device.type == "cpu" and tensor.dtype == like.dtype
    return tensor if is_there else tensor.to(like.device, like.dtype)


def _array(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    array: npt.NDArray[np.float64] = tensor.numpy(force=True).astype(np.float64, copy=False)
    return array
