"""Displacements along the normal modes of the teacher, as wide as heat makes them.

J. S. Smith, O. Isayev, A. E. Roitberg, Chem. Sci. 8, 3192 (2017), doi:10.1039/C6SC05720A, with classical amplitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from ase.data import atomic_masses

from mlff_core.data.sampling.strategy import Ranges, SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import Array, LabelledStructure, batch_from_structures
from mlff_core.errors import InputError
from mlff_core.units import EV_PER_KELVIN


@dataclass(frozen=True)
class NormalMode(Strategy):
    """Thermal normal-mode displacements from a teacher's Hessian; off by default, since a Hessian is dear.

    A mode of frequency ω gets a normal displacement of variance k_B T/ω² in mass-weighted coordinates. Curvatures below
    ``softest``, negative ones among them, count as that: the start need not be the teacher's own minimum.

    Parameters
    ----------
    enabled
        Whether it is used.
    n
        Geometries for each start.
    temperature_min_k, temperature_max_k
        Range from which each geometry draws its temperature, K.
    softest
        Least curvature taken as it is, eV/Å²/u; 0.04 is about 100 cm⁻¹.
    max_atoms
        Larger structures are left out, since the cost of a Hessian grows with the square of the size.
    """

    kind: ClassVar[str] = "normal_mode"
    needs_teacher: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = (("temperature_min_k", "temperature_max_k", 1.0),)

    enabled: bool = False
    n: int = 4
    temperature_min_k: float = 200.0
    temperature_max_k: float = 1000.0
    softest: float = 0.04
    max_atoms: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.softest > 0:
            raise InputError(f"softest must be positive, got {self.softest:g} eV/Å²/u")

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` displaced geometries; none of an atom or of a structure above ``max_atoms``.

        Raises
        ------
        InputError
            There is no teacher.
        """
        if context.teacher is None:
            raise InputError("the kind normal_mode needs a teacher: name one, or switch it off")
        if not 2 <= start.n_atoms <= self.max_atoms:
            return []
        hessian = context.teacher.hessian(batch_from_structures([start], dtype=torch.float64))
        curvatures, modes = internal_modes(
            hessian.detach().to("cpu", torch.float64).numpy(), start.positions, atomic_masses[start.atomic_numbers]
        )
        widths = 1.0 / np.sqrt(np.maximum(curvatures, self.softest))
        made = []
        for _ in range(self.n):
            energy = EV_PER_KELVIN * rng.uniform(self.temperature_min_k, self.temperature_max_k)
            amplitudes = np.sqrt(energy) * widths * rng.standard_normal(len(widths))
            made.append(at(start, start.positions + (modes @ amplitudes).reshape(-1, 3), self.kind))
        return made


def internal_modes(hessian: Array, positions: Array, masses: Array) -> tuple[Array, Array]:
    """Return curvatures and Cartesian shapes of the modes that neither move nor turn the whole molecule.

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
        Shape (n_modes,), eV/Å²/u, rising.
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
    n_rigid = int((weights > 1e-6 * weights[0]).sum())  # 5 where all atoms lie on a line
    internal = basis[n_rigid:].T
    curvatures, vectors = np.linalg.eigh(internal.T @ (hessian / np.outer(root, root)) @ internal)
    return curvatures, (internal @ vectors) / root[:, None]
