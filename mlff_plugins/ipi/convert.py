"""Conversion for i-PI: bohr, hartree, column cells and virials there; Å, eV, row cells and stresses in the core."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.far import FAR, moved_near_origin
from mlff_core.structures.prediction import Prediction
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


class Copies:
    """A batch of copies of a template; i-PI's structures are written into it at each step.

    Making a new batch, or new views of its tensors, at each step would cost more.

    Parameters
    ----------
    template
        One structure: elements, periodicity, charge and multiplicity.
    n
        Copies.
    """

    def __init__(self, template: AtomicBatch, n: int) -> None:
        self.batch = repeated(template, n)
        self.positions = self.batch.positions.view(n, template.n_atoms, 3)
        self.columns = self.batch.cell.transpose(1, 2)
        self.has_cell = bool(template.pbc.any())
        self.on_cpu = template.device.type == "cpu"
        if self.on_cpu:
            self.position_array, self.column_array = self.positions.numpy(), self.columns.numpy()


def to_batch(structures: Structures, copies: Copies) -> AtomicBatch:
    """Return the batch of ``copies`` with i-PI's structures written into it.

    Parameters
    ----------
    structures
        Cells and positions, in bohr.
    copies
        A batch of as many structures. The cell of a molecule is not used, so it is left as it is.
    """
    positions = structures.positions
    flat = positions.reshape(-1)
    if copies.positions.dtype == torch.float32 and flat.dot(flat) > FAR**2:
        positions = np.stack([moved_near_origin(one) for one in positions])
    if copies.on_cpu:
        # For a few numbers NumPy converts in a fraction of torch's time.
        np.multiply(positions, ANGSTROM_PER_BOHR, out=copies.position_array, casting="same_kind")
        if copies.has_cell:
            np.multiply(structures.cells, ANGSTROM_PER_BOHR, out=copies.column_array, casting="same_kind")
    else:
        copies.positions.copy_(torch.from_numpy(positions * ANGSTROM_PER_BOHR))
        if copies.has_cell:
            copies.columns.copy_(torch.from_numpy(structures.cells * ANGSTROM_PER_BOHR))
    return copies.batch


def from_prediction(prediction: Prediction, structures: Structures, volumes: Sequence[float] = ()) -> Results:
    """Return a prediction for i-PI's structures in the units and form of i-PI.

    The virial of a periodic structure is −stressᵀ × volume. That of a molecule is Σ r ⊗ F over its atoms: the same
    derivative without a volume.

    Parameters
    ----------
    prediction
        Prediction of ``structures``.
    structures
        Cells and positions, in bohr.
    volumes
        Volumes of the periodic structures, bohr³.

    Raises
    ------
    UnsupportedError
        The model gives no forces.
    """
    given = prediction.need("forces", "the model", "which i-PI needs")
    positions = structures.positions
    results = Results(*positions.shape[:2])
    energies = prediction.energy.tolist()
    for k, energy in enumerate(energies):
        results.energies[k] = energy / EV_PER_HARTREE
    forces = _array(given).reshape(positions.shape)
    np.multiply(forces, 1 / FORCE, out=results.forces, dtype=np.float64)
    if prediction.stress is not None:
        scales = np.array([[[-PRESSURE * volume]] for volume in volumes])
        np.multiply(_array(prediction.stress).transpose(0, 2, 1), scales, out=results.virials, dtype=np.float64)
    else:
        # Positions relative to an atom, since the forces sum to zero only within rounding.
        np.matmul(results.forces.transpose(0, 2, 1), positions - positions[:, :1], out=results.virials)
    more = _deviations(prediction, positions.shape) | _charges(prediction, len(positions))
    if more:
        results.extras = [
            json.dumps({"energy": energy, **{name: values[k] for name, values in more.items()}})
            for k, energy in enumerate(energies)
        ]
    else:
        # In the format of json.dumps; the client refuses numbers that are not finite.
        results.extras = [f'{{"energy": {energy!r}}}' for energy in energies]
    return results


def committee(members: Sequence[Results], combined: Prediction) -> Results:
    """Return the mean of the results of several models, with those of each in the extras, as in i-PI's committees.

    Parameters
    ----------
    members
        Results of two or more models for the same structures.
    combined
        Prediction of the committee for the same structures, with ``energy_std`` and ``forces_std``.
    """
    energies = np.stack([member.energies for member in members], axis=1)
    forces = np.stack([member.forces for member in members], axis=1)
    virials = np.stack([member.virials for member in members], axis=1)
    n, n_members, n_atoms = forces.shape[:3]
    results = Results(n, n_atoms)
    for name, values in (("energies", energies), ("forces", forces), ("virials", virials)):
        np.mean(values, axis=1, out=getattr(results, name))
    deviations = _deviations(combined, (n, n_atoms, 3))
    results.extras = [
        json.dumps(
            {
                "energy": float(results.energies[k]) * EV_PER_HARTREE,
                **{name: values[k] for name, values in deviations.items()},
                "committee_pot": energies[k].tolist(),
                "committee_force": forces[k].reshape(n_members, -1).tolist(),
                "committee_virial": virials[k].tolist(),
            }
        )
        for k in range(n)
    ]
    return results


def _deviations(prediction: Prediction, shape: tuple[int, ...]) -> dict[str, list[Any]]:
    """Return the requested deviations, each a list with one entry per structure, eV and eV/Å."""
    found: dict[str, list[Any]] = {}
    if prediction.energy_std is not None:
        found["energy_std"] = prediction.energy_std.tolist()
    if prediction.forces_std is not None:
        found["forces_std"] = _array(prediction.forces_std).reshape(shape).tolist()
    return found


def _charges(prediction: Prediction, n_systems: int) -> dict[str, list[Any]]:
    """Return charges (e) and dipoles (e·bohr, i-PI's unit) where they were requested, one entry per structure."""
    found: dict[str, list[Any]] = {}
    if prediction.charges is not None:
        found["charges"] = _array(prediction.charges).reshape(n_systems, -1).tolist()
    if prediction.dipole is not None:
        found["dipole"] = (_array(prediction.dipole) / ANGSTROM_PER_BOHR).tolist()
    return found


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return tensor.numpy() if tensor.is_cpu and not tensor.requires_grad else tensor.numpy(force=True)
