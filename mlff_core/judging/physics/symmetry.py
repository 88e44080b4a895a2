"""Exact properties: invariances, forces as the slope of the energy, no jump at the cutoff."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlff_core.errors import UnsupportedError
from mlff_core.model.derivatives import sum_over_systems
from mlff_core.potentials.checks import check_one_system
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate


@dataclass(frozen=True)
class Deviation:
    """Largest violation of a property that should hold exactly.

    Parameters
    ----------
    energy
        eV/atom for an invariance, eV for a jump.
    forces
        Largest component, eV/Å.
    """

    energy: float
    forces: float


def invariances(
    potential: Potential, batch: AtomicBatch, *, seed: int = 0, n_rotations: int = 4
) -> dict[str, Deviation]:
    """Return how much energy and forces change where they must not, by the name of the operation.

    ``rotation`` and ``inversion`` turn the forces along; ``translation`` by up to 100 Å; ``permutation`` of the atoms
    of each structure; ``momentum`` is the net force of each; ``torque`` (where there is no cell) its net torque, eV.

    Parameters
    ----------
    potential
        What is checked.
    batch
        Structures, periodic or not.
    seed
        Of the random operations.
    n_rotations
        How many rotations are tried.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = batch.to(potential.device, torch.float64)
    energy, forces = _energy_forces(potential, batch)
    count = torch.bincount(batch.system_idx, minlength=batch.n_systems).double()

    def deviation(moved: AtomicBatch, expected: Tensor) -> Deviation:
        e, f = _energy_forces(potential, moved)
        return Deviation(float(((e - energy).abs() / count).max()), float((f - expected).abs().max()))

    found = {}
    rotations = [_random_rotation(generator).to(batch.device) for _ in range(n_rotations)]
    turned = [
        deviation(replace(batch, positions=batch.positions @ r.T, cell=batch.cell @ r.T), forces @ r.T)
        for r in rotations
    ]
    found["rotation"] = Deviation(max(d.energy for d in turned), max(d.forces for d in turned))
    found["inversion"] = deviation(replace(batch, positions=-batch.positions, cell=-batch.cell), -forces)
    shift = 100.0 * torch.rand(3, dtype=torch.float64, generator=generator).to(batch.device)
    found["translation"] = deviation(batch.with_positions(batch.positions + shift), forces)
    keys = torch.rand(batch.n_atoms, dtype=torch.float64, generator=generator).to(batch.device)
    order = torch.argsort(batch.system_idx + keys)
    permuted = replace(batch, positions=batch.positions[order], atomic_numbers=batch.atomic_numbers[order])
    found["permutation"] = deviation(permuted, forces[order])
    net = sum_over_systems(forces, batch.system_idx, batch.n_systems)
    found["momentum"] = Deviation(0.0, float(net.abs().max()))
    free = ~batch.pbc.any(dim=1)
    if bool(free.any()):
        torque = sum_over_systems(torch.linalg.cross(batch.positions, forces), batch.system_idx, batch.n_systems)
        centre = sum_over_systems(batch.positions, batch.system_idx, batch.n_systems) / count[:, None]
        about_centre = torque - torch.linalg.cross(centre, net)
        found["torque"] = Deviation(0.0, float(about_centre[free].abs().max()))
    return found


def force_consistency(potential: Potential, batch: AtomicBatch, *, step: float = 1e-3, seed: int = 0) -> float:
    """Return the largest difference between a force and the slope of the energy, eV/Å, along random directions.

    Each structure is moved along three random unit directions by ± ``step`` and ± 2·``step`` Å (five-point formula).
    """
    generator = torch.Generator().manual_seed(seed)
    batch = batch.to(potential.device, torch.float64)
    _, forces = _energy_forces(potential, batch)
    worst = 0.0
    for _ in range(3):
        direction = torch.randn((batch.n_atoms, 3), dtype=torch.float64, generator=generator).to(batch.device)
        norms = sum_over_systems(direction.square().sum(dim=1), batch.system_idx, batch.n_systems).sqrt()
        direction = direction / norms[batch.system_idx, None]
        energies = [
            potential.predict(batch.with_positions(batch.positions + k * step * direction), want=("energy",)).energy
            for k in (-2, -1, 1, 2)
        ]
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)
        along = sum_over_systems((forces * direction).sum(dim=1), batch.system_idx, batch.n_systems)
        worst = max(worst, float((slope + along).abs().max()))
    return worst


def cutoff_jump(potential: Potential, batch: AtomicBatch, *, seed: int = 0, n_directions: int = 8) -> Deviation:
    """Return the largest jump of energy (eV) and forces (eV/Å) as two copies of a molecule come within the cutoff.

    A copy is put beside the molecule so that the nearest pair is 1e-6 Å inside the cutoff, then 1e-6 Å outside:
    one edge appears between the two. A potential that ends smoothly changes by less than rounding.

    Parameters
    ----------
    potential
        What is checked; its card gives the cutoff.
    batch
        One molecule.
    seed
        Of the random directions.
    n_directions
        How many directions the copy comes from.

    Raises
    ------
    UnsupportedError
        The potential has no cutoff.
    """
    check_one_system(batch)
    cutoff = potential.card.cutoff
    if not cutoff > 0:
        raise UnsupportedError(f"{potential.card.name} has no cutoff at which it could jump")
    generator = torch.Generator().manual_seed(seed)
    batch = batch.to(potential.device, torch.float64)
    worst = Deviation(0.0, 0.0)
    for _ in range(n_directions):
        direction = torch.randn(3, dtype=torch.float64, generator=generator).to(batch.device)
        direction = direction / direction.norm()
        turned = batch.positions @ _random_rotation(generator).to(batch.device).T
        found = []
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
            found.append(_energy_forces(potential, one))
        energy = float((found[0][0] - found[1][0]).abs().max())
        forces = float((found[0][1] - found[1][1]).abs().max())
        worst = Deviation(max(worst.energy, energy), max(worst.forces, forces))
    return worst


def _shift_to(fixed: Tensor, moving: Tensor, direction: Tensor, distance: float) -> float:
    """Return how far ``moving`` goes along ``direction`` until its nearest pair with ``fixed`` is ``distance`` apart.

    fixed and moving are (n, 3), Å. Coming from far away, pair ij reaches the distance at the larger root of
    |Δ_ij + t·u|² = d²; the first to arrive has the largest.
    """
    delta = moving[None] - fixed[:, None]
    along = delta @ direction
    inside = along**2 - delta.square().sum(dim=2) + distance**2
    roots = torch.where(inside >= 0, -along + inside.clamp(min=0).sqrt(), torch.full_like(along, -torch.inf))
    return float(roots.max())


def _random_rotation(generator: torch.Generator) -> Tensor:
    """Return a uniformly random proper rotation, shape (3, 3), no unit."""
    q, r = torch.linalg.qr(torch.randn((3, 3), dtype=torch.float64, generator=generator))
    q = q * torch.sign(torch.diagonal(r))
    rotation: Tensor = q * torch.sign(torch.linalg.det(q))
    return rotation


def _energy_forces(potential: Potential, batch: AtomicBatch) -> tuple[Tensor, Tensor]:
    found = potential.predict(batch)
    if found.forces is None:
        raise UnsupportedError(f"{potential.card.name} gives no forces")
    return found.energy.double(), found.forces.double()
