"""Exact properties: invariances, forces equal to the negative gradient of the energy, no jump at the cutoff."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlff_core.errors import UnsupportedError
from mlff_core.potentials import measurements
from mlff_core.potentials.checks import check_one_system
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.measurements import Moved
from mlff_core.structures.batch import AtomicBatch, concatenate
from mlff_core.structures.difference import differences, largest
from mlff_core.structures.prediction import Prediction


@dataclass(frozen=True)
class Deviation:
    """Largest violation of a property that should hold exactly."""

    energy: float
    """eV/atom for an invariance, eV for a jump."""
    forces: float
    """Largest component of the forces, eV/Å."""


def invariances(
    potential: Potential, batch: AtomicBatch, *, seed: int = 0, n_rotations: int = 4
) -> dict[str, Deviation]:
    """Return the changes of energy and forces under operations that must not change them, by name of the operation.

    ``rotation`` and ``inversion`` apply to the forces too; ``translation`` by up to 100 Å; ``permutation`` of the atoms
    of each structure; ``momentum`` is the net force of each; ``torque`` (where there is no cell) its net torque, eV.

    Parameters
    ----------
    potential
        The potential to check.
    batch
        Structures, periodic or not.
    seed
        Seed of the random operations.
    n_rotations
        Number of rotations.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = batch.to(potential.device, torch.float64)
    before = _predicted(potential, batch)

    def deviation(moved: Moved) -> Deviation:
        changed, wanted = moved
        found = {d.quantity: d.largest for d in differences(_predicted(potential, changed), wanted, changed)}
        return Deviation(found["energy"], found["forces"])

    found = {}
    turned = [
        deviation(measurements.rotated(batch, before, measurements.random_rotation(generator)))
        for _ in range(n_rotations)
    ]
    found["rotation"] = Deviation(largest(d.energy for d in turned), largest(d.forces for d in turned))
    mirrored, reversed_forces = measurements.inverted(batch, before)
    # With the cell inverted too, the same images are found and rounding errors are the same.
    found["inversion"] = deviation((replace(mirrored, cell=-batch.cell), reversed_forces))
    shift = 100.0 * torch.rand(3, dtype=torch.float64, generator=generator)
    found["translation"] = deviation(measurements.translated(batch, before, shift))
    keys = torch.rand(batch.n_atoms, dtype=torch.float64, generator=generator)
    order = torch.argsort(batch.system_idx.cpu() + keys)
    found["permutation"] = deviation(measurements.permuted(batch, before, order))
    on_cpu, forces = batch.to("cpu"), measurements.forces_of(before)
    found["momentum"] = Deviation(0.0, float(measurements.net_force(on_cpu, forces).abs().max()))
    free = ~on_cpu.pbc.any(dim=1)
    if bool(free.any()):
        found["torque"] = Deviation(0.0, float(measurements.net_torque(on_cpu, forces)[free].abs().max()))
    return found


def force_consistency(potential: Potential, batch: AtomicBatch, *, step: float = 1e-3, seed: int = 0) -> float:
    """Return the largest difference between forces and finite differences of the energy, eV/Å, along random directions.

    Each structure is moved along three random unit directions by ± ``step`` and ± 2·``step`` Å (five-point formula).
    """
    generator = torch.Generator().manual_seed(seed)
    batch = batch.to(potential.device, torch.float64)
    forces = measurements.forces_of(_predicted(potential, batch))
    worst = []
    for _ in range(3):
        direction = torch.randn((batch.n_atoms, 3), dtype=torch.float64, generator=generator).to(batch.device)
        by_energy, by_forces = measurements.forces_along(potential, batch, forces, direction, step)
        worst.append(float((by_energy - by_forces).abs().max()))
    return largest(worst)


def cutoff_jump(potential: Potential, batch: AtomicBatch, *, seed: int = 0, n_directions: int = 8) -> Deviation:
    """Return the largest jump of energy (eV) and forces (eV/Å) as two copies of a molecule come within the cutoff.

    A copy is placed beside the molecule so that the nearest pair is 1e-6 Å inside the cutoff, then 1e-6 Å outside:
    the two differ by one edge. A potential that is smooth at the cutoff changes by less than the rounding error.

    Parameters
    ----------
    potential
        What is checked; its card gives the cutoff.
    batch
        One molecule.
    seed
        Seed of the random directions.
    n_directions
        Number of directions from which the copy approaches.

    Raises
    ------
    UnsupportedError
        The potential has no cutoff.
    """
    check_one_system(batch)
    cutoff = potential.card.cutoff
    if not cutoff > 0:
        raise UnsupportedError(f"{potential.card.name} has no cutoff, which this check needs")
    generator = torch.Generator().manual_seed(seed)
    batch = batch.to(potential.device, torch.float64)
    energies, forces = [], []
    for _ in range(n_directions):
        direction = torch.randn(3, dtype=torch.float64, generator=generator).to(batch.device)
        direction = direction / direction.norm()
        turned = batch.positions @ measurements.random_rotation(generator).to(batch.device).T
        sides = []
        for distance in (cutoff - 1e-6, cutoff + 1e-6):
            copy = turned + direction * _shift_to(batch.positions, turned, direction, distance)
            both = concatenate([batch, batch.with_positions(copy)])
            one = replace(
                both,
                cell=both.cell[:1],
                pbc=both.pbc[:1],
                system_idx=torch.zeros_like(both.system_idx),
                charge=None,
                spin_multiplicity=None,
            )
            sides.append(one)
        energy, force = measurements.jump(potential, *sides)
        energies.append(abs(energy.found - energy.wanted))
        forces.append(force.largest)
    return Deviation(largest(energies), largest(forces))


def _shift_to(fixed: Tensor, moving: Tensor, direction: Tensor, distance: float) -> float:
    """Return the shift of ``moving`` along ``direction`` that makes its nearest pair with ``fixed`` ``distance`` apart.

    fixed and moving are (n, 3), Å. Approaching from far away, pair ij reaches the distance at the larger root of
    |Δ_ij + t·u|² = d²; the first pair to do so has the largest root.
    """
    delta = moving[None] - fixed[:, None]
    along = delta @ direction
    inside = along**2 - delta.square().sum(dim=2) + distance**2
    roots = torch.where(inside >= 0, -along + inside.clamp(min=0).sqrt(), torch.full_like(along, -torch.inf))
    return float(roots.max())


def _predicted(potential: Potential, batch: AtomicBatch) -> Prediction:
    found = potential.predict(batch)
    if found.forces is None:
        raise UnsupportedError(f"{potential.card.name} gives no forces, which this check needs")
    return found
