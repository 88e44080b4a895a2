"""Vibrations of a molecule: frequencies, infrared intensities, thermochemistry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.dynamics.batched_relaxation import relax_many
from mlff_core.errors import InputError
from mlff_core.judging.physics.frequencies import LIGHT_CM_PER_FS, normal_modes
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import concatenate
from mlff_core.structures.electrons import electronic_state
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import COULOMB_EV_ANGSTROM, FS_PER_TIME_UNIT
from mlff_plugins.molecules.symmetry import symmetry_number

if TYPE_CHECKING:
    from ase import Atoms

Array = npt.NDArray[np.float64]

EV_CM = 1.2398419843320026e-4
"""Energy of one wave per cm: h·c in eV·cm, exact."""

AVOGADRO = 6.02214076e23

KM_PER_MOL = AVOGADRO * math.pi * COULOMB_EV_ANGSTROM / (3.0 * (LIGHT_CM_PER_FS * FS_PER_TIME_UNIT * 1e8) ** 2) * 1e-13
"""Infrared intensity in km/mol of a derivative of the dipole of one e/√amu: N_A e²/(4πε₀) π/(3c²)."""

STEP = 0.02
"""Displacement along a mode for the derivative of the dipole, Å·√amu."""


@dataclass(frozen=True, eq=False)
class Thermochemistry:
    """Ideal gas, rigid rotor and harmonic oscillators at one temperature and pressure."""

    temperature_kelvin: float
    pressure_bar: float
    symmetry_number: int
    zero_point_energy: float
    """eV."""
    enthalpy: float
    """Above the potential energy of the minimum, with the zero-point energy, eV."""
    entropy: float
    """eV/K."""
    gibbs_energy: float
    """Above the potential energy of the minimum, eV."""


@dataclass(frozen=True, eq=False)
class Vibrations:
    """The vibrations of a molecule."""

    atoms: Atoms
    """The minimum, with its energy and forces attached."""
    energy: float
    """Potential energy, eV."""
    max_force: float
    """Largest force on an atom, eV/Å."""
    wavenumbers: Array
    """Ascending, 1/cm; imaginary ones are negative; shape (n_vibrations,)."""
    modes: Array
    """Motion of the atoms for one Å·√amu of each mode's coordinate, shape (n_vibrations, n_atoms, 3), 1/√amu."""
    intensities: Array | None
    """Infrared intensities, shape (n_vibrations,), km/mol; None if the potential gives no dipoles."""

    @property
    def n_imaginary(self) -> int:
        """Number of imaginary frequencies; none at a minimum."""
        return int((self.wavenumbers < 0).sum())


def vibrations(
    potential: Potential, atoms: Atoms, *, as_is: bool = False, fmax: float = 1e-3, max_steps: int = 2000
) -> Vibrations:
    """Return the vibrations of a molecule at its minimum.

    Parameters
    ----------
    potential
        Gives energies, forces and the Hessian, and dipoles for intensities.
    atoms
        A molecule.
    as_is
        Take the structure as it is, a transition state for instance, instead of relaxing it.
    fmax, max_steps
        See :func:`~mlff_core.dynamics.batched_relaxation.relax_many`.

    Raises
    ------
    InputError
        The relaxation does not converge, or the molecule cannot be used.
    UnsupportedError
        The potential does not support an element or the charge.
    """
    # With any force allowed, no step is made: energy and forces of the structure as it is.
    (done,) = relax_many(potential, [atoms], fmax=1e30 if as_is else fmax, max_steps=max_steps)
    if not done.converged:
        raise InputError(
            f"the relaxation did not converge in {max_steps} steps (largest force {done.max_force:.3g} eV/Å, wanted "
            f"{fmax:g}); use --dtype float64, or a structure nearer the minimum"
        )
    batch = batch_from_atoms(done.atoms, device=potential.device, dtype=potential.dtype)
    wavenumbers, modes = normal_modes(potential, batch)
    intensities = None
    if "dipole" in potential.supports and len(modes):
        intensities = _intensities(potential, done.atoms, modes)
    return Vibrations(done.atoms, done.energy, done.max_force, wavenumbers, modes, intensities)


def _intensities(potential: Potential, atoms: Atoms, modes: Array) -> Array:
    """Return infrared intensities, shape (n_vibrations,), km/mol, from central differences of the dipole."""
    batch = batch_from_atoms(atoms, device=potential.device, dtype=potential.dtype)
    moves = torch.as_tensor(STEP * modes, dtype=potential.dtype, device=potential.device)
    moved = concatenate([batch.with_positions(batch.positions + sign * move) for move in moves for sign in (1, -1)])
    dipoles = potential.predict(moved, want=("dipole",)).need("dipole", potential.card.name)
    ends = dipoles.double().cpu().numpy().reshape(len(modes), 2, 3)
    slopes = (ends[:, 0] - ends[:, 1]) / (2 * STEP)
    found: Array = KM_PER_MOL * np.square(slopes).sum(axis=1)
    return found


def thermochemistry(
    found: Vibrations,
    *,
    temperature_kelvin: float = 298.15,
    pressure_bar: float = 1.0,
    sigma: int | None = None,
) -> Thermochemistry:
    """Return the thermochemistry of an ideal gas, by ASE's ``IdealGasThermo``.

    Parameters
    ----------
    found
        Vibrations at a minimum.
    temperature_kelvin, pressure_bar
        State of the gas.
    sigma
        Rotational symmetry number; None finds it.

    Raises
    ------
    InputError
        There are imaginary frequencies.
    """
    from ase.thermochemistry import IdealGasThermo

    if found.n_imaginary:
        raise InputError(f"{found.n_imaginary} frequencies are imaginary, so this is no minimum and has no free energy")
    atoms = found.atoms
    n_modes, n_atoms = len(found.wavenumbers), len(atoms)
    shape = "monatomic" if n_atoms == 1 else "linear" if n_modes == 3 * n_atoms - 5 else "nonlinear"
    sigma = sigma or symmetry_number(atoms.numbers, atoms.positions)
    multiplicity = electronic_state(atoms).spin_multiplicity or 1
    energies = EV_CM * found.wavenumbers
    thermo = IdealGasThermo(
        vib_energies=energies,
        geometry=shape,
        atoms=atoms,
        symmetrynumber=sigma,
        spin=(multiplicity - 1) / 2,
        vib_selection="exact",
    )
    pressure_pa = 1e5 * pressure_bar
    return Thermochemistry(
        temperature_kelvin,
        pressure_bar,
        sigma,
        float(energies.sum() / 2),
        float(thermo.get_enthalpy(temperature_kelvin, verbose=False)),
        float(thermo.get_entropy(temperature_kelvin, pressure_pa, verbose=False)),
        float(thermo.get_gibbs_energy(temperature_kelvin, pressure_pa, verbose=False)),
    )
