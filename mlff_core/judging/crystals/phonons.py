"""Phonons of a crystal by finite displacements in a supercell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from ase.build import make_supercell
from ase.data import atomic_masses

from mlff_core.potentials.frames import predict_frames
from mlff_core.units import FS_PER_TIME_UNIT

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.potentials.interface import Potential

THZ = 1e3 / (2.0 * np.pi * FS_PER_TIME_UNIT)
"""THz of an angular frequency of one √(eV/(Å²·amu))."""

Array = npt.NDArray[np.float64]


class Phonons:
    """Harmonic force constants of a crystal, and the frequencies that follow.

    Displacements to both sides; force constants with the pairs of equal shortest distance sharing them, as in
    K. Parlinski, Z. Q. Li, Y. Kawazoe, Phys. Rev. Lett. 78, 4063 (1997), doi:10.1103/PhysRevLett.78.4063.

    Parameters
    ----------
    potential
        Gives the forces.
    primitive
        Primitive cell at its equilibrium.
    supercell
        Lattice vectors of the supercell in those of the primitive cell, shape (3, 3), int64.
    displacement
        Å.

    Raises
    ------
    UnsupportedError
        The potential does not know an element.
    """

    def __init__(
        self, potential: Potential, primitive: Atoms, supercell: npt.NDArray[np.int64], displacement: float = 0.01
    ) -> None:
        self.primitive = primitive
        n = len(primitive)
        large = make_supercell(primitive, supercell, order="cell-major")
        frames = []
        for atom in range(n):
            for axis in range(3):
                for sign in (1.0, -1.0):
                    frame = large.copy()
                    frame.positions[atom, axis] += sign * displacement
                    frames.append(frame)
        rows = predict_frames(potential, frames, want=("energy", "forces"), batch_size=6)
        forces = np.array([row["forces"] for row in rows]).reshape(n, 3, 2, len(large), 3)
        # constants[a, i, b, j] = ∂²E / ∂x_ai ∂x_bj, eV/Å².
        self.constants = -(forces[:, :, 0] - forces[:, :, 1]) / (2.0 * displacement)
        # A shift of all atoms costs nothing: the error of that goes into each atom's constant with itself.
        own = np.arange(n)
        self.constants[own, :, own, :] -= self.constants.sum(axis=2)
        self.pairs = [[_shortest(large, a, b) for b in range(len(large))] for a in range(n)]
        # Cell by cell, each with the atoms of the primitive cell in their order.
        self.of_primitive = np.arange(len(large)) % n

    def frequencies(self, q: Array) -> Array:
        """Return the frequencies at one wave vector, ascending, THz; imaginary ones are negative.

        Parameters
        ----------
        q
            In units of the reciprocal lattice vectors of the primitive cell, shape (3,).
        """
        n = len(self.primitive)
        wave = 2.0 * np.pi * np.asarray(q) @ self.primitive.cell.reciprocal().array
        dynamical = np.zeros((n, 3, n, 3), dtype=np.complex128)
        for a in range(n):
            for b, vectors in enumerate(self.pairs[a]):
                phase = np.exp(1j * vectors @ wave).mean()
                dynamical[a, :, self.of_primitive[b], :] += phase * self.constants[a, :, b, :]
        root = np.sqrt(np.repeat(atomic_masses[self.primitive.numbers], 3))
        matrix = dynamical.reshape(3 * n, 3 * n) / np.outer(root, root)
        values = np.linalg.eigvalsh(0.5 * (matrix + matrix.conj().T))
        return np.asarray(np.sign(values) * np.sqrt(np.abs(values)) * THZ)

    def lowest(self, mesh: int = 8) -> float:
        """Return the lowest frequency on a mesh of wave vectors, THz, without that of the zone's centre."""
        steps = np.arange(mesh) / mesh
        points = np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T[1:]
        return min(float(self.frequencies(q)[0]) for q in points)


def _shortest(large: Atoms, a: int, b: int) -> Array:
    """Return the shortest vectors from atom a to images of atom b, shape (n_equal, 3), Å."""
    images = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T @ large.cell.array
    vectors = large.positions[b] - large.positions[a] + images
    lengths = np.linalg.norm(vectors, axis=1)
    found: Array = vectors[lengths < lengths.min() + 1e-3]
    return found
