"""Harmonic frequencies of a molecule at its minimum."""

from __future__ import annotations

import math

import numpy as np
import torch

from mlff_core.errors import InputError
from mlff_core.judging.physics.relaxation import relaxed
from mlff_core.judging.physics.trajectory import Array, masses
from mlff_core.potentials.checks import check_one_system
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.units import FS_PER_TIME_UNIT

LIGHT_CM_PER_FS = 2.99792458e-5
"""Speed of light, exact."""

WAVENUMBER = 1.0 / (2.0 * math.pi * LIGHT_CM_PER_FS * FS_PER_TIME_UNIT)
"""1/cm of an angular frequency of one √(eV/(Å²·amu))."""


def harmonic_frequencies(potential: Potential, batch: AtomicBatch) -> Array:
    """Return the wavenumbers of one molecule's vibrations, ascending, 1/cm; imaginary ones are negative.

    Eigenvalues of the mass-weighted Hessian with translations and rotations projected out, so 3·n_atoms − 6 of them
    (− 5 for a linear molecule): E. B. Wilson, J. C. Decius, P. C. Cross, *Molecular Vibrations* (1955), ch. 2.

    Parameters
    ----------
    potential
        Gives the Hessian.
    batch
        One molecule, at the potential's own minimum.

    Raises
    ------
    InputError
        The batch holds more than one structure.
    """
    return normal_modes(potential, batch)[0]


def normal_modes(potential: Potential, batch: AtomicBatch) -> tuple[Array, Array]:
    """Return wavenumbers and normal modes of one molecule; see :func:`harmonic_frequencies`.

    Parameters
    ----------
    potential
        Gives the Hessian.
    batch
        One molecule, at the potential's own minimum.

    Returns
    -------
    tuple of array
        Wavenumbers, shape (n_vibrations,), 1/cm; and how the atoms move for one Å·√amu of each mode's coordinate,
        shape (n_vibrations, n_atoms, 3), 1/√amu.

    Raises
    ------
    InputError
        The batch holds more than one structure.
    """
    check_one_system(batch)
    hessian = potential.hessian(batch).double().cpu().numpy()
    root_mass = np.sqrt(masses(batch.atomic_numbers).cpu().numpy())
    weighted = hessian / np.outer(np.repeat(root_mass, 3), np.repeat(root_mass, 3))
    vibrations = _vibrations(batch.positions.double().cpu().numpy(), root_mass)
    eigenvalues, vectors = np.linalg.eigh(vibrations.T @ weighted @ vibrations)
    found: Array = np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues)) * WAVENUMBER
    modes: Array = (vibrations @ vectors).T.reshape(len(found), len(root_mass), 3) / root_mass[:, None]
    return found, modes


def _vibrations(positions: Array, root_mass: Array) -> Array:
    """Return an orthonormal basis orthogonal to translations and rotations, shape (3·n_atoms, n_vibrations).

    positions (n_atoms, 3) in Å, root_mass (n_atoms,) in √amu.
    """
    centred = positions - np.average(positions, axis=0, weights=root_mass**2)
    rigid = []
    for axis in np.eye(3):
        rigid.append((root_mass[:, None] * axis).reshape(-1))
        rigid.append((root_mass[:, None] * np.cross(axis, centred)).reshape(-1))
    left, singular, _ = np.linalg.svd(np.array(rigid).T, full_matrices=True)
    rank = int((singular > 1e-3 * singular[0]).sum())
    basis: Array = left[:, rank:]
    return basis


def compare_frequencies(
    potential: Potential, reference: Potential, batch: AtomicBatch, *, fmax: float = 1e-3
) -> tuple[Array, Array]:
    """Return (frequencies, reference frequencies) of one molecule, each at the potential's own minimum, 1/cm.

    Parameters
    ----------
    potential, reference
        The potential to check, and the one to compare it with.
    batch
        One molecule, near the minimum.
    fmax
        Largest force component at the minima, eV/Å.

    Raises
    ------
    InputError
        The molecule is linear in only one of them.
    """
    found = [
        harmonic_frequencies(p, relaxed(p, batch.to(dtype=torch.float64), fmax=fmax)) for p in (potential, reference)
    ]
    if len(found[0]) != len(found[1]):
        raise InputError(
            "the molecule is linear in only one of the two potentials, so their modes cannot be compared; leave it out"
        )
    return found[0], found[1]
