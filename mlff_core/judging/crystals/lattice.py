"""Lattice constant and elastic constants of a cubic crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlff_core.dynamics.batched_relaxation import relax_many
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.frames import predict_frames
from mlff_core.units import GPA_PER_EV_PER_ANGSTROM3

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.potentials.interface import Potential

FARTHEST = 0.12
"""Share by which the lattice constant may move from its start."""

FORCE = 2e-3
"""Atoms in a strained cell are relaxed where a force is above this, eV/Å."""


def relaxed_cubic(potential: Potential, crystal: Atoms) -> tuple[Atoms, float]:
    """Return the cubic crystal at the lattice constant of lowest energy, and its energy per atom, eV.

    Parameters
    ----------
    potential
        Gives the energies.
    crystal
        A cubic cell whose atoms are held in place by symmetry.

    Raises
    ------
    InputError
        There is no minimum within :data:`FARTHEST` of the start.
    """
    factor, width = 1.0, 0.02
    for _ in range(30):
        strains = np.linspace(-width, width, 7)
        frames = [scaled(crystal, factor * (1.0 + strain)) for strain in strains]
        energies = np.array([row["energy"] for row in predict_frames(potential, frames, want=("energy",))])
        lowest = _minimum(strains, energies)
        factor *= 1.0 + (np.clip(lowest, -width, width) if lowest is not None else strains[energies.argmin()])
        if abs(factor - 1.0) > FARTHEST:
            break
        if lowest is not None and abs(lowest) < 0.25 * width:
            best = scaled(crystal, factor)
            (row,) = predict_frames(potential, [best], want=("energy",))
            return best, row["energy"] / len(best)
    raise InputError(
        f"{potential.card.name} has no {crystal.get_chemical_formula()} of this lattice within {FARTHEST:.0%} of "
        f"{crystal.cell.lengths()[0]:.3f} Å; it was not trained for it"
    )


def elastic_constants(potential: Potential, crystal: Atoms, strain: float = 0.004) -> tuple[float, float, float]:
    """Return C11, C12 and C44 of a cubic crystal without stress, GPa, by central differences of the stress.

    Parameters
    ----------
    potential
        Gives the stress.
    crystal
        The crystal of :func:`relaxed_cubic`.
    strain
        Each strain, to both sides.

    Raises
    ------
    UnsupportedError
        The potential gives no stress.
    """
    if "stress" not in potential.supports:
        raise UnsupportedError(f"{potential.card.name} gives no stress, which elastic constants need")
    stretch, shear = np.zeros((3, 3)), np.zeros((3, 3))
    stretch[0, 0] = 1.0
    shear[1, 2] = shear[2, 1] = 0.5
    frames = [strained(crystal, sign * strain * one) for one in (stretch, shear) for sign in (1.0, -1.0)]
    rows = predict_frames(potential, frames, want=("energy", "forces", "stress"))
    if max(float(np.abs(row["forces"]).max()) for row in rows) > FORCE:
        frames = [one.atoms for one in relax_many(potential, frames, fmax=0.5 * FORCE)]
        rows = predict_frames(potential, frames, want=("energy", "stress"))
    stresses = [GPA_PER_EV_PER_ANGSTROM3 * row["stress"] for row in rows]
    stretched, sheared = ((stresses[k] - stresses[k + 1]) / (2 * strain) for k in (0, 2))
    return float(stretched[0, 0]), float(0.5 * (stretched[1, 1] + stretched[2, 2])), float(sheared[1, 2])


def scaled(crystal: Atoms, factor: float) -> Atoms:
    """Return the crystal with its lengths times a factor."""
    return strained(crystal, (factor - 1.0) * np.eye(3))


def strained(crystal: Atoms, strain: npt.NDArray[np.float64]) -> Atoms:
    """Return the crystal strained by a symmetric tensor, shape (3, 3), Å of displacement per Å."""
    made = crystal.copy()
    made.set_cell(crystal.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return made


def _minimum(strains: npt.NDArray[np.float64], energies: npt.NDArray[np.float64]) -> float | None:
    """Return where a polynomial of fourth degree through the energies is lowest; None if it has no minimum near."""
    fit = np.polynomial.Polynomial.fit(strains, energies, 4)
    roots = fit.deriv().roots()
    real = roots[np.abs(roots.imag) < 1e-9].real
    found = real[(fit.deriv(2)(real) > 0) & (np.abs(real) <= 2 * strains[-1])]
    return float(found[np.abs(found).argmin()]) if len(found) else None
