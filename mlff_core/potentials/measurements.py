"""Measurements of laws that every potential must obey: moved structures, finite differences, steps at the cutoff.

These functions return numbers and judge nothing: the contracts of :mod:`mlff_core.testing` compare them with a
tolerance, and the physics checks report them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mlff_core.errors import UnsupportedError
from mlff_core.model.derivatives import sum_over_systems
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.difference import Difference, differences
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import volume

Moved = tuple[AtomicBatch, Prediction]
"""A moved structure and the prediction it must have, which follows from the prediction before the move."""


def random_rotation(generator: torch.Generator) -> Tensor:
    """Return a uniformly random proper rotation, shape (3, 3), float64."""
    q, r = torch.linalg.qr(torch.randn((3, 3), dtype=torch.float64, generator=generator))
    q = q * torch.sign(torch.diagonal(r))
    rotation: Tensor = q * torch.sign(torch.linalg.det(q))
    return rotation


def rotated(batch: AtomicBatch, before: Prediction, rotation: Tensor) -> Moved:
    """Return structures and cells rotated by ``rotation`` (3, 3), with rotated forces, eV/Å, and stresses, eV/Å³.

    Raises
    ------
    UnsupportedError
        There are no forces.
    """
    turn = rotation.to(batch.device, batch.dtype)
    moved = replace(batch, positions=batch.positions @ turn.T, cell=batch.cell @ turn.T)
    stress = None if before.stress is None else rotation @ before.stress.cpu().double() @ rotation.T
    return moved, replace(before, forces=forces_of(before) @ rotation.T, stress=stress)


def inverted(batch: AtomicBatch, before: Prediction) -> Moved:
    """Return the structures inverted through the origin, with reversed forces. A lattice is its own image.

    Raises
    ------
    UnsupportedError
        There are no forces.
    """
    return batch.with_positions(-batch.positions), replace(before, forces=-forces_of(before))


def translated(batch: AtomicBatch, before: Prediction, shift: Tensor) -> Moved:
    """Return all atoms moved by ``shift`` (3,), Å; the prediction does not change."""
    return batch.with_positions(batch.positions + shift.to(batch.device, batch.dtype)), before


def permuted(batch: AtomicBatch, before: Prediction, order: Tensor) -> Moved:
    """Return the atoms in another order within each structure.

    ``order`` (n_atoms,), int64, holds the number of the atom that comes to each place; forces, eV/Å, and atom energies,
    eV, are reordered in the same way.

    Raises
    ------
    UnsupportedError
        There are no forces.
    """
    order = order.to(batch.device)
    moved = replace(batch, positions=batch.positions[order], atomic_numbers=batch.atomic_numbers[order])
    shares, places = before.atom_energies, order.cpu()
    shares = None if shares is None else shares.cpu()[places]
    return moved, replace(before, forces=forces_of(before)[places], atom_energies=shares)


def doubled(batch: AtomicBatch, before: Prediction, distance: float) -> Moved:
    """Return a structure twice: a crystal with its cell doubled, a molecule with a copy far away. The energy doubles.

    Parameters
    ----------
    batch
        One structure.
    before
        Its prediction.
    distance
        From the topmost atom of the structure to the lowest atom of the copy, Å; not used for a crystal.

    Raises
    ------
    UnsupportedError
        There are no forces.
    """
    is_crystal = bool(batch.pbc.all())
    if is_crystal:
        shift = batch.cell[0, 0]
    else:
        height = batch.positions[:, 2].max() - batch.positions[:, 2].min()
        shift = torch.stack([torch.zeros_like(height), torch.zeros_like(height), height + distance])
    cell = batch.cell.clone()
    if is_crystal:
        cell[0, 0] *= 2
    moved = replace(
        batch,
        positions=torch.cat([batch.positions, batch.positions + shift]),
        atomic_numbers=batch.atomic_numbers.repeat(2),
        system_idx=batch.system_idx.repeat(2),
        cell=cell,
    )
    forces = forces_of(before).repeat(2, 1)
    return moved, Prediction(energy=2 * before.energy, forces=forces, stress=before.stress if is_crystal else None)


def net_force(batch: AtomicBatch, forces: Tensor) -> Tensor:
    """Return the sum of the forces (n_atoms, 3), eV/Å, on each structure, shape (n_systems, 3), eV/Å."""
    return sum_over_systems(forces, batch.system_idx, batch.n_systems)


def net_torque(batch: AtomicBatch, forces: Tensor) -> Tensor:
    """Return the torque of the forces (n_atoms, 3), eV/Å, about each structure's centre, shape (n_systems, 3), eV."""
    torque = sum_over_systems(torch.linalg.cross(batch.positions, forces), batch.system_idx, batch.n_systems)
    count = torch.bincount(batch.system_idx, minlength=batch.n_systems).double()
    centre = sum_over_systems(batch.positions, batch.system_idx, batch.n_systems) / count[:, None]
    about_centre: Tensor = torque - torch.linalg.cross(centre, net_force(batch, forces))
    return about_centre


def forces_along(
    potential: Potential, batch: AtomicBatch, forces: Tensor, direction: Tensor, step: float
) -> tuple[Tensor, Tensor]:
    """Return the force along a direction, by finite difference of the energy and from the forces.

    Parameters
    ----------
    potential
        The potential to measure.
    batch
        Structures.
    forces
        The forces it predicts for them, shape (n_atoms, 3), eV/Å.
    direction
        Displacements, shape (n_atoms, 3), Å; those of each structure are scaled to a length of 1 Å.
    step
        Step of the five-point formula, Å.

    Returns
    -------
    tuple of Tensor
        Minus the derivative of the energy along the direction, and the forces along it, shape (n_systems,) each, eV/Å.
    """
    norms = sum_over_systems(direction.square().sum(dim=1), batch.system_idx, batch.n_systems).sqrt()
    direction = direction / norms[batch.system_idx, None]
    derivative = _derivative(lambda s: _energy(potential, batch.with_positions(batch.positions + s * direction)), step)
    along = sum_over_systems((forces.to(direction) * direction).sum(dim=1), batch.system_idx, batch.n_systems)
    return -derivative, along


def stress_by_strain(potential: Potential, batch: AtomicBatch, a: int, b: int, step: float) -> Tensor:
    """Return a component of the stress by finite difference of the energy under strain, (n_systems,), eV/Å³.

    Parameters
    ----------
    potential
        The potential to measure.
    batch
        Structures in cells.
    a, b
        Indices of the component.
    step
        Step of the five-point formula, a strain.
    """

    def strained(strain: float) -> Tensor:
        deformation = torch.eye(3, dtype=batch.dtype, device=batch.device)
        deformation[a, b] += strain / 2
        deformation[b, a] += strain / 2
        moved = replace(batch, positions=batch.positions @ deformation, cell=batch.cell @ deformation)
        return _energy(potential, moved)

    derivative = _derivative(strained, step)
    return derivative / torch.tensor([volume(cell) for cell in batch.cell.tolist()]).to(derivative)


def jump(potential: Potential, inside: AtomicBatch, outside: AtomicBatch) -> tuple[Difference, Difference]:
    """Return the differences of energy and forces between two structures on the two sides of the cutoff.

    Raises
    ------
    UnsupportedError
        The potential gives no forces.
    """
    before, after = potential.predict(inside), potential.predict(outside)
    if before.forces is None or after.forces is None:
        raise UnsupportedError(f"{potential.card.name} gives no forces")
    found = {difference.quantity: difference for difference in differences(after, before, inside)}
    return found["energy"], found["forces"]


def forces_of(prediction: Prediction) -> Tensor:
    """Return the forces, shape (n_atoms, 3), eV/Å, in double precision on the CPU.

    Raises
    ------
    UnsupportedError
        There are none.
    """
    if prediction.forces is None:
        raise UnsupportedError("forces were wanted, None came")
    return prediction.forces.cpu().double()


def _energy(potential: Potential, batch: AtomicBatch) -> Tensor:
    return potential.predict(batch, want=("energy",)).energy.to(batch.device).double()


def _derivative(function: Callable[[float], Tensor], step: float) -> Tensor:
    """Return the derivative at 0 by the five-point formula, whose error is of fourth order in ``step``."""
    far_below, below, above, far_above = (function(k * step) for k in (-2, -1, 1, 2))
    return (far_below - 8 * below + 8 * above - far_above) / (12 * step)
