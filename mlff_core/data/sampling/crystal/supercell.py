"""Supercells, and their strain and thermal noise: what all kinds of crystals share."""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np
import torch
from ase import Atoms

from mlff_core.data.structure import Array, LabelledStructure, batch_from_structures
from mlff_core.structures.neighbors import edge_vectors, find_neighbors

LINDEMANN = 0.1 / sqrt(3.0)
"""Standard deviation of a coordinate of an atom at the melting point, as a share of the distance of nearest neighbours:
F. A. Lindemann's rule, with a root mean square displacement of a tenth."""

PUSHES = 300
"""Most steps in which atoms are pushed apart."""

MOST_REPEATS = 8
"""Most repetitions along one lattice vector."""


def atoms_of(structure: LabelledStructure) -> Atoms:
    """Return a periodic structure as ASE's ``Atoms``."""
    positions = np.asarray(structure.positions, dtype=np.float64)
    return Atoms(structure.atomic_numbers, positions=positions, cell=structure.cell, pbc=structure.pbc)


def structure_of(atoms: Atoms, start: LabelledStructure, kind: str) -> LabelledStructure:
    """Return ASE's ``Atoms`` as a structure of a start's molecule, without labels."""
    return LabelledStructure(
        atomic_numbers=atoms.numbers.astype(np.uint8),
        positions=atoms.positions.astype(np.float32),
        cell=np.array(atoms.cell),
        pbc=np.array(atoms.pbc),
        molecule_id=start.molecule_id,
        kind=kind,
    )


def supercell(atoms: Atoms, least: int, most: int, rng: np.random.Generator) -> Atoms:
    """Return a random supercell of ``least`` to ``most`` atoms, where there is one; else that nearest to the range.

    Parameters
    ----------
    atoms
        The cell to repeat.
    least, most
        Range of the number of atoms.
    rng
        Draws the repetitions among all that fit.
    """
    repeats = list(product(range(1, MOST_REPEATS + 1), repeat=3))
    counts = [len(atoms) * int(np.prod(repeat)) for repeat in repeats]
    fitting = [repeat for repeat, n in zip(repeats, counts, strict=True) if least <= n <= most]
    if not fitting:
        gaps = [max(least - n, n - most) for n in counts]
        fitting = [repeat for repeat, gap in zip(repeats, gaps, strict=True) if gap == min(gaps)]
    return atoms.repeat(fitting[rng.integers(len(fitting))])


def strained(atoms: Atoms, strain: float, rng: np.random.Generator) -> Atoms:
    """Return the crystal under a random symmetric strain.

    Parameters
    ----------
    atoms
        The crystal.
    strain
        Largest entry of the strain tensor; each of the six is drawn from −strain … strain times a common random factor,
        so that small and large strains are equally frequent.
    rng
        Random numbers.
    """
    raw = rng.uniform(-strain, strain, (3, 3)) * rng.uniform()
    deformed = atoms.copy()
    upper = np.triu(raw)
    deformed.set_cell(atoms.cell.array @ (np.eye(3) + upper + np.triu(raw, 1).T), scale_atoms=True)
    return deformed


def heated(atoms: Atoms, distance: float, melting: float, rng: np.random.Generator) -> Atoms:
    """Return the crystal with thermal noise by Lindemann's rule.

    Parameters
    ----------
    atoms
        The crystal.
    distance
        Distance of nearest neighbours, Å.
    melting
        Temperature in units of the melting point.
    rng
        Random numbers.
    """
    moved = atoms.copy()
    moved.positions += LINDEMANN * distance * sqrt(melting) * rng.standard_normal(atoms.positions.shape)
    return moved


def nearest_distance(structure: LabelledStructure) -> float:
    """Return the distance of nearest neighbours of a periodic structure, images included, Å."""
    batch, cutoff = batch_from_structures([structure], dtype=torch.float64), 4.0
    while True:
        vectors = edge_vectors(batch, find_neighbors(batch, cutoff))
        if len(vectors):
            return float(vectors.norm(dim=1).min())
        cutoff *= 2.0


def periodic_distances(points: Array, atoms: Atoms) -> Array:
    """Return the distance of each point to its nearest atom, images included, Å.

    Parameters
    ----------
    points
        Shape (n_points, 3), Å.
    atoms
        The crystal.
    """
    from ase.geometry import get_distances

    _, distances = get_distances(points, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    return np.asarray(distances.min(axis=1))


def pushed_apart(cell: Atoms, least: float) -> bool:
    """Move atoms that are closer than ``least``, Å, apart in place, and return whether that succeeded."""
    from ase.geometry import get_distances

    own = np.arange(len(cell))
    for _ in range(PUSHES):
        vectors, distances = get_distances(cell.positions, cell=cell.cell, pbc=True)
        distances[own, own] = np.inf
        overlap = np.clip(least - distances, 0.0, None)
        if overlap.max() < 1e-3 * least:
            return True
        # From i to j: i goes the other way, both by half of the overlap and a little more.
        pushes = -0.55 * overlap[..., None] * vectors / np.maximum(distances, 1e-6)[..., None]
        cell.positions += pushes.sum(axis=1)
    return False
