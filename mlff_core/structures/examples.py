"""Small structures that reveal errors of adapters; always the same, of the elements H C N O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.reading import batch_from_atoms

if TYPE_CHECKING:
    from ase import Atoms

_TRICLINIC_CELL = np.array([[5.9, 0.4, -0.3], [-1.1, 6.3, 0.5], [0.7, 1.3, 6.8]])
"""Å, rows are lattice vectors: right-handed, all angles different, no off-diagonal element zero, so that a transposed
or rotated cell is another crystal."""


def ethanol() -> Atoms:
    """Return ethanol, away from its minimum and without symmetry, 9 atoms, no cell."""
    from ase import Atoms

    molecule = Atoms(
        "CCOHHHHHH",
        positions=[
            [1.190, -0.391, 0.021],
            [0.012, 0.565, -0.034],
            [-1.217, -0.158, 0.043],
            [1.152, -1.074, -0.838],
            [2.148, 0.158, -0.012],
            [1.121, -0.996, 0.925],
            [0.041, 1.163, -0.931],
            [0.028, 1.241, 0.848],
            [-1.951, 0.443, -0.097],
        ],
    )
    # More digits than a text format with a few decimals can hold.
    molecule.positions += np.random.RandomState(1).uniform(-0.01, 0.01, size=(9, 3))
    return molecule


def one_atom() -> Atoms:
    """Return one carbon atom, no cell."""
    from ase import Atoms

    return Atoms("C", positions=[[0.3, -0.2, 0.1]])


def molecule_in_dummy_cell() -> Atoms:
    """Return ethanol in a cell smaller than itself with ``pbc`` off: the cell must have no effect."""
    atoms = ethanol()
    atoms.set_cell([[3.1, 0.2, 0.0], [0.4, 2.9, -0.3], [0.1, 0.5, 3.3]])
    atoms.pbc = False
    return atoms


def triclinic_crystal() -> Atoms:
    """Return 12 atoms in a triclinic cell without symmetry, periodic, all inside the cell."""
    from ase import Atoms

    fractional = _spread(12, seed=3)
    return Atoms("HCNOHCHOCHNH", scaled_positions=fractional, cell=_TRICLINIC_CELL, pbc=True)


def slab() -> Atoms:
    """Return a layer of 12 atoms, periodic along its first two lattice vectors only."""
    atoms = triclinic_crystal()
    atoms.pbc = (True, True, False)
    return atoms


def small_cell() -> Atoms:
    """Return a molecule in a triclinic cell narrower than any cutoff: each atom sees many images, also its own.

    This is a molecule rather than atoms spread over a smaller cell: there the stress of a trained model was 100 eV/Å³,
    where float32 resolves only 8e-6 eV/Å³.
    """
    from ase import Atoms

    return Atoms(
        "CO",
        positions=[[0.202, 0.728, 0.234], [0.715, 1.428, 1.062]],
        cell=[[3.12, 0.13, -0.26], [-0.65, 3.38, 0.39], [0.39, 0.78, 3.64]],
        pbc=True,
    )


def cluster(n_atoms: int = 200) -> Atoms:
    """Return a compact cluster of H C N O with no two atoms closer than 1.6 Å, no cell.

    A denser cluster would be unlike any training data: its forces would be a thousand eV/Å, and rounding in single
    precision would exceed the tolerance between two correct implementations.
    """
    from ase import Atoms

    side = 2 * int(np.ceil(n_atoms ** (1 / 3))) + 1
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) - side // 2
    order = np.argsort((grid**2).sum(axis=1), kind="stable")[:n_atoms]
    jitter = np.random.RandomState(7).uniform(-0.2, 0.2, size=(n_atoms, 3))
    positions = 2.0 * grid[order] + jitter
    numbers = np.array([1, 6, 1, 7, 1, 8])[np.arange(n_atoms) % 6]
    return Atoms(numbers=numbers, positions=positions)


def molecular_cluster() -> Atoms:
    """Return 25 molecules of urea as close together as in its crystal, in random orientations, 200 atoms, no cell.

    All its distances are those of a liquid, so that every model trained on molecules knows it: far outside training,
    charges and forces are sums of large numbers that cancel, and rounding in single precision exceeds the tolerance
    between two correct implementations.
    """
    from ase import Atoms

    urea = np.array(
        [
            [1.022, 0.499, 0.069], [0.120, -0.434, -0.303], [0.425, -1.539, -0.717], [-1.156, -0.014, -0.167],
            [1.974, 0.237, -0.160], [0.786, 1.451, -0.173], [-1.341, 0.556, 0.646], [-1.830, -0.756, -0.315],
        ]
    )  # fmt: skip
    urea -= urea.mean(axis=0)
    grid = 4.6 * np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[1:-1]
    random = np.random.RandomState(5)
    placed: list[np.ndarray] = []
    for center in grid:
        while True:
            turn, triangle = np.linalg.qr(random.normal(size=(3, 3)))
            molecule = urea @ (turn * np.sign(np.diag(triangle))) + center + random.uniform(-0.2, 0.2, size=3)
            if all(np.linalg.norm(molecule[:, None] - other[None], axis=2).min() > 1.9 for other in placed):
                placed.append(molecule)
                break
    return Atoms("NCONHHHH" * len(grid), positions=np.concatenate(placed))


def moved_by_lattice_vectors(atoms: Atoms, seed: int = 11) -> Atoms:
    """Return the same crystal with each atom moved by up to two lattice vectors along periodic directions."""
    moved = atoms.copy()
    steps = np.random.RandomState(seed).randint(-2, 3, size=(len(atoms), 3)) * np.asarray(atoms.pbc)
    moved.positions += steps @ np.asarray(atoms.cell)
    return moved


def permuted(atoms: Atoms, order: Sequence[int]) -> Atoms:
    """Return the atoms in another order."""
    return atoms[list(order)]


def all_structures() -> dict[str, Atoms]:
    """Return every structure of this module by name."""
    return {
        "ethanol": ethanol(),
        "one atom": one_atom(),
        "molecule in a dummy cell": molecule_in_dummy_cell(),
        "triclinic crystal": triclinic_crystal(),
        "triclinic crystal, atoms outside the cell": moved_by_lattice_vectors(triclinic_crystal()),
        "slab": slab(),
        "cell smaller than the cutoff": small_cell(),
        "cluster of 200 atoms": molecular_cluster(),
    }


def to_batch(atoms: Atoms | Sequence[Atoms]) -> AtomicBatch:
    """Return structures as a float64 batch."""
    return batch_from_atoms(atoms, dtype=torch.float64)


def _spread(n: int, seed: int) -> np.ndarray:
    """Return fractional coordinates (n, 3) of points kept 1.4 Å apart in the triclinic cell, images included."""
    random = np.random.RandomState(seed)
    images = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen: list[np.ndarray] = []
    while len(chosen) < n:
        trial = random.uniform(size=3)
        others = [(other - trial + images) @ _TRICLINIC_CELL for other in chosen]
        if all(np.linalg.norm(vectors, axis=1).min() > 1.4 for vectors in others):
            chosen.append(trial)
    return np.array(chosen)
