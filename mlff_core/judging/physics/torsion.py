"""Torsion scans: the energy as one part of a molecule is rotated about a bond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from ase.data import covalent_radii

from mlff_core.judging.physics.trajectory import Array
from mlff_core.potentials.checks import check_one_system
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate
from mlff_core.structures.bonds import bonded as bonded_atoms

CLASH = 1.5
"""Atoms that are not bonded clash if closer than this many sums of their covalent radii: the scan is rigid, and
such an energy is not a torsion energy."""


@dataclass(frozen=True, eq=False)
class TorsionScan:
    """Energies along one rigid scan."""

    atoms: tuple[int, int]
    """The two atoms of the bond."""
    angles_deg: Array
    """Rotations from the given structure, shape (n,), degrees; those without clashes."""
    energy: Array
    reference: Array
    """Relative to their means, shape (n,), eV."""

    @property
    def mae_mev(self) -> float:
        """Mean error of the relative energies, meV (of the molecule, not per atom)."""
        return float(1e3 * np.abs(self.energy - self.reference).mean())

    @property
    def barrier_error_mev(self) -> float:
        """Error of the difference of highest and lowest energy, meV."""
        return float(1e3 * (np.ptp(self.energy) - np.ptp(self.reference)))


def bonds(batch: AtomicBatch) -> npt.NDArray[np.bool_]:
    """Return which atoms of one molecule are bonded, shape (n_atoms, n_atoms), by covalent radii."""
    check_one_system(batch)
    return bonded_atoms(batch.positions.double().cpu().numpy(), batch.atomic_numbers.cpu().numpy())


def rotatable_bonds(batch: AtomicBatch) -> list[tuple[int, int]]:
    """Return bonds between heavy atoms that are not in a ring and have a heavy atom on both sides."""
    bonded = bonds(batch)
    heavy = batch.atomic_numbers.cpu().numpy() > 1
    found = []
    for i, j in np.argwhere(np.triu(bonded)):
        ends = [bonded[a] & heavy for a in (i, j)]
        if heavy[i] and heavy[j] and ends[0].sum() > 1 and ends[1].sum() > 1 and not _side(bonded, i, j)[i]:
            found.append((int(i), int(j)))
    return found


def _side(bonded: npt.NDArray[np.bool_], i: int, j: int) -> npt.NDArray[np.bool_]:
    """Return the atoms reached from j without crossing the bond i-j; i is among them if the bond is in a ring."""
    graph = bonded.copy()
    graph[i, j] = graph[j, i] = False
    reached = np.zeros(len(graph), dtype=bool)
    reached[j] = True
    for _ in range(len(graph)):
        grown = reached | graph[reached].any(axis=0)
        if (grown == reached).all():
            break
        reached = grown
    return reached


def turned(batch: AtomicBatch, bond: tuple[int, int], angle_deg: float) -> AtomicBatch:
    """Return one molecule with the atoms on the second side of ``bond`` rotated about it by ``angle_deg``."""
    i, j = bond
    moving = _side(bonds(batch), i, j)
    positions = batch.positions.double().cpu().numpy().copy()
    axis = positions[j] - positions[i]
    axis = axis / np.linalg.norm(axis)
    angle = np.radians(angle_deg)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    positions[moving] = positions[j] + (positions[moving] - positions[j]) @ rotation.T
    return batch.with_positions(torch.from_numpy(positions).to(batch.device, batch.dtype))


def torsion_scan(
    potential: Potential, reference: Potential, batch: AtomicBatch, bond: tuple[int, int], n_angles: int = 24
) -> TorsionScan | None:
    """Return both energies along a rigid scan of one bond; None if fewer than three angles have no clashes.

    Parameters
    ----------
    potential, reference
        The potential to check, and the one to compare it with.
    batch
        One molecule; float64 for exact angles.
    bond
        One of :func:`rotatable_bonds`.
    n_angles
        Number of angles, evenly spaced over a full turn.
    """
    bonded = bonds(batch)
    # 1,3 pairs are closer than other atoms that are not bonded, so they do not count as clashes.
    near = bonded | (bonded.astype(int) @ bonded.astype(int) > 0) | np.eye(len(bonded), dtype=bool)
    radii = covalent_radii[batch.atomic_numbers.cpu().numpy()]
    least = CLASH * (radii[:, None] + radii[None])
    frames, angles = [], []
    for angle in np.arange(n_angles) * 360.0 / n_angles:
        frame = turned(batch, bond, float(angle))
        positions = frame.positions.double().cpu().numpy()
        distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
        if not ((distances < least) & ~near).any():
            frames.append(frame)
            angles.append(angle)
    if len(frames) < 3:
        return None
    together = concatenate(frames)
    energies = [p.predict(together, want=("energy",)).energy.double().cpu().numpy() for p in (potential, reference)]
    return TorsionScan(bond, np.array(angles), energies[0] - energies[0].mean(), energies[1] - energies[1].mean())
