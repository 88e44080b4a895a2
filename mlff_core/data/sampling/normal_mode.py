"""Thermal displacements along the normal modes of the teacher.

J. S. Smith, O. Isayev, A. E. Roitberg, Chem. Sci. 8, 3192 (2017), doi:10.1039/C6SC05720A, with classical amplitudes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from ase.data import atomic_masses

from mlff_core.data.sampling.strategy import Displacement, Ranges, SamplingContext
from mlff_core.data.structure import Array, LabelledStructure, batch_from_structures
from mlff_core.errors import InputError
from mlff_core.units import EV_PER_KELVIN


@dataclass(frozen=True)
class NormalMode(Displacement):
    """Thermal normal-mode displacements from a teacher's Hessian; off by default, since a Hessian is expensive.

    A mode of frequency ω gets a normally distributed displacement of variance k_B T/ω² in mass-weighted coordinates.
    Curvatures below ``softest``, including negative ones, are replaced by it: the start need not be the teacher's
    minimum.
    """

    kind: ClassVar[str] = "normal_mode"
    needs_teacher: ClassVar[bool] = True
    positive: ClassVar[tuple[str, ...]] = ("softest",)
    ranges: ClassVar[Ranges] = (("temperature_min_k", "temperature_max_k", 1.0),)

    enabled: bool = False
    n: int = 4
    temperature_min_k: float = 200.0
    temperature_max_k: float = 1000.0
    """Range of a geometry's temperature, K."""
    softest: float = 0.04
    """Least curvature, eV/Å²/u; 0.04 is about 100 cm⁻¹."""
    max_atoms: int = 40
    """Largest number of atoms, since the cost of a Hessian grows with the square of the size."""

    def displaced(
        self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext
    ) -> Callable[[], Array] | None:
        """Return a function that draws displaced positions; None for a single atom or above ``max_atoms``.

        Raises
        ------
        InputError
            There is no teacher.
        """
        if context.teacher is None:
            raise InputError("the kind normal_mode needs a teacher: give one, or disable it")
        if not 2 <= start.n_atoms <= self.max_atoms:
            return None
        hessian = context.teacher.hessian(batch_from_structures([start], dtype=torch.float64))
        curvatures, modes = internal_modes(
            hessian.detach().to("cpu", torch.float64).numpy(), start.positions, atomic_masses[start.atomic_numbers]
        )
        widths = 1.0 / np.sqrt(np.maximum(curvatures, self.softest))

        def draw() -> Array:
            energy = EV_PER_KELVIN * rng.uniform(self.temperature_min_k, self.temperature_max_k)
            amplitudes = np.sqrt(energy) * widths * rng.standard_normal(len(widths))
            return np.asarray(start.positions + (modes @ amplitudes).reshape(-1, 3))

        return draw


def internal_modes(hessian: Array, positions: Array, masses: Array) -> tuple[Array, Array]:
    """Return curvatures and Cartesian displacements of the modes without translations and rotations of the molecule.

    Parameters
    ----------
    hessian
        Shape (3·n_atoms, 3·n_atoms), eV/Å².
    positions
        Shape (n_atoms, 3), Å.
    masses
        Shape (n_atoms,), atomic mass units.

    Returns
    -------
    curvatures
        Shape (n_modes,), eV/Å²/u, ascending.
    modes
        Shape (3·n_atoms, n_modes), 1/√u: the mass-weighted eigenvectors divided by the roots of the masses.
    """
    root = np.sqrt(np.repeat(masses, 3))
    centered = positions - np.average(positions, axis=0, weights=masses)
    rigid = np.zeros((6, len(root)))
    for axis in range(3):
        unit = np.eye(3)[axis]
        rigid[axis] = (root.reshape(-1, 3) * unit).reshape(-1)
        rigid[3 + axis] = (root.reshape(-1, 3) * np.cross(unit, centered)).reshape(-1)
    _, weights, basis = np.linalg.svd(rigid, full_matrices=True)
    n_rigid = int((weights > 1e-6 * weights[0]).sum())  # 5 for a linear molecule
    internal = basis[n_rigid:].T
    curvatures, vectors = np.linalg.eigh(internal.T @ (hessian / np.outer(root, root)) @ internal)
    return curvatures, (internal @ vectors) / root[:, None]
