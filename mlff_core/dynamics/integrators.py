"""One step of molecular dynamics: velocity Verlet, Langevin, and a barostat on top of it.

Units are eV, Å and amu; time is in Å·√(amu/eV), see :data:`mlff_core.units.FS_PER_TIME_UNIT`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from scipy.linalg import expm

from mlff_core.dynamics.state import Array, MDState, Surface
from mlff_core.errors import InputError

LONGEST_JUMP = 1.0
"""An atom that moves by more than this in one step, in Å, has left physics."""

COMPRESSIBILITY = 72.0
"""Of water, 0.45 GPa⁻¹, in Å³/eV. It fixes how fast the volume relaxes, never which volumes are visited."""


class Integrator(Protocol):
    """What the driver needs of an integrator."""

    def advance(self, state: MDState, *, want_stress: bool) -> MDState:
        """Return the state one step later."""


class VelocityVerlet:
    """Constant energy: W. C. Swope et al., J. Chem. Phys. 76, 637 (1982), doi:10.1063/1.442716.

    Parameters
    ----------
    surface
        Energies and forces.
    masses
        Shape (n_atoms, 1), amu.
    timestep
        Å·√(amu/eV).
    """

    def __init__(self, surface: Surface, masses: Array, timestep: float) -> None:
        self.surface = surface
        self.masses = masses
        self.timestep = timestep

    def advance(self, state: MDState, *, want_stress: bool) -> MDState:
        """Return the state one step later."""
        velocities = state.velocities + 0.5 * self.timestep * state.forces / self.masses
        positions = state.positions + self.timestep * velocities
        return self._arrive(state, positions, velocities, state.bath_energy, want_stress)

    def _arrive(
        self, state: MDState, positions: Array, velocities: Array, bath_energy: float, want_stress: bool
    ) -> MDState:
        """Return the state at new positions, after the second half kick."""
        check_jump(state.positions, positions)
        energy, forces, stress = self.surface.evaluate(positions, state.cell, want_stress=want_stress)
        velocities = velocities + 0.5 * self.timestep * forces / self.masses
        return MDState(state.step + 1, positions, velocities, state.cell, energy, forces, stress, bath_energy)


class Langevin(VelocityVerlet):
    """Constant temperature by the splitting BAOAB, whose error in averages over positions is the smallest known.

    B. Leimkuhler, C. Matthews, J. Chem. Phys. 138, 174102 (2013), doi:10.1063/1.4802990.

    Parameters
    ----------
    surface
        Energies and forces.
    masses
        Shape (n_atoms, 1), amu.
    timestep
        Å·√(amu/eV).
    thermal_energy
        k·T, eV.
    friction
        1/(Å·√(amu/eV)).
    random
        Source of random numbers.
    """

    def __init__(
        self,
        surface: Surface,
        masses: Array,
        timestep: float,
        thermal_energy: float,
        friction: float,
        random: np.random.Generator,
    ) -> None:
        super().__init__(surface, masses, timestep)
        self.random = random
        self.keep = float(np.exp(-friction * timestep))
        self.kick = np.sqrt((1.0 - self.keep**2) * thermal_energy / masses)
        if surface.mobile is not None:
            self.kick = self.kick * surface.mobile

    def advance(self, state: MDState, *, want_stress: bool) -> MDState:
        """Return the state one step later."""
        half = 0.5 * self.timestep
        velocities = state.velocities + half * state.forces / self.masses
        positions = state.positions + half * velocities
        stirred = self.keep * velocities + self.kick * self.random.standard_normal(velocities.shape)
        heat = 0.5 * float((self.masses * (stirred**2 - velocities**2)).sum())
        positions = positions + half * stirred
        return self._arrive(state, positions, stirred, state.bath_energy + heat, want_stress)


class LangevinBarostat:
    """Constant temperature and pressure: Langevin steps, and now and then a move of the cell that obeys the ensemble.

    A move multiplies cell and positions by exp(ε) and velocities by its inverse, which leaves the phase-space volume as
    it is. ε is drawn from one step of Brownian motion down the slope of the enthalpy, as in stochastic cell rescaling
    (M. Bernetti, G. Bussi, J. Chem. Phys. 153, 114107 (2020), doi:10.1063/5.0020514), and is then accepted with the
    Metropolis–Hastings probability (G. O. Roberts, R. L. Tweedie, Bernoulli 2, 341 (1996), doi:10.2307/3318418), so
    that the volumes visited are those of the ensemble however long the move. Their density is
    V · exp(−(K + U + P·V)/kT) with respect to the invariant measure of exp(ε), for the volume alone and for the full
    cell alike (G. J. Martyna, D. J. Tobias, M. L. Klein, J. Chem. Phys. 101, 4177 (1994), doi:10.1063/1.467468).
    Between moves nothing but positions, velocities and cell is remembered.

    Parameters
    ----------
    langevin
        The thermostat.
    pressure
        eV/Å³.
    thermal_energy
        k·T, eV.
    relaxation_time
        Of the volume, for a material as soft as water, Å·√(amu/eV).
    full_cell
        Move all six strains, else the volume alone.
    every
        Steps between moves.
    """

    def __init__(
        self,
        langevin: Langevin,
        pressure: float,
        thermal_energy: float,
        relaxation_time: float,
        *,
        full_cell: bool,
        every: int = 10,
    ) -> None:
        self.langevin = langevin
        self.surface = langevin.surface
        self.masses = langevin.masses
        self.random = langevin.random
        self.pressure = pressure
        self.thermal_energy = thermal_energy
        self.full_cell = full_cell
        self.every = every
        self.mobility = COMPRESSIBILITY * thermal_energy * langevin.timestep * every / relaxation_time
        """Half the variance of ln V in one move, times the volume, Å³."""

    def advance(self, state: MDState, *, want_stress: bool) -> MDState:
        """Return the state one step later."""
        due = (state.step + 1) % self.every == 0
        state = self.langevin.advance(state, want_stress=want_stress or due)
        return self._move(state) if due else state

    def _move(self, state: MDState) -> MDState:
        width = self._width(state)
        mean = width * self._slope(state)
        strain = mean + np.sqrt(2 * width) * self._noise()
        # Drawn before the outcome is known, so that every path takes the same number of random numbers.
        chance = self.random.random()
        stretch = expm(strain)
        moved = replace(
            state,
            positions=state.positions @ stretch,
            velocities=state.velocities @ expm(-strain),
            cell=state.cell @ stretch,
        )
        try:
            moved = self.surface.refresh(moved, want_stress=True)
        except InputError:
            return state  # atoms overlap there: a state of no weight
        width_back = self._width(moved)
        mean_back = width_back * self._slope(moved)
        log_ratio = (
            self._log_weight(moved)
            + self._log_density(-strain - mean_back, width_back)
            - self._log_weight(state)
            - self._log_density(strain - mean, width)
        )
        if np.log(chance) >= log_ratio:
            return state
        work = self._total_energy(moved) - self._total_energy(state)
        return replace(moved, bath_energy=state.bath_energy + work)

    def _width(self, state: MDState) -> float:
        """Return half the variance of a strain in one move, such that their trace, ln V, varies as wanted."""
        return self.mobility / (volume_of(state) * (3.0 if self.full_cell else 9.0))

    def _slope(self, state: MDState) -> Array:
        """Return the gradient of the log weight in the strain, shape (3, 3), no unit."""
        if state.stress is None:
            raise InputError("the barostat needs a stress, and the state has none")
        volume = volume_of(state)
        kinetic = (self.masses * state.velocities).T @ state.velocities
        virial = volume * (self.pressure * np.eye(3) + state.stress) - kinetic
        slope: Array = np.eye(3) - 0.5 * (virial + virial.T) / self.thermal_energy
        # Volume alone: the strain is one number times the unit matrix, and its gradient is the trace.
        return slope if self.full_cell else np.eye(3) * float(np.trace(slope))

    def _noise(self) -> Array:
        if not self.full_cell:
            return np.eye(3) * float(self.random.standard_normal())
        drawn = self.random.standard_normal((3, 3))
        return np.asarray(0.5 * (drawn + drawn.T))

    def _log_density(self, miss: Array, width: float) -> float:
        """Return the log of the density of drawing a strain that misses the mean of its move by ``miss``."""
        squared = float((miss**2).sum()) if self.full_cell else float(miss[0, 0] ** 2)
        dimensions = 6 if self.full_cell else 1
        return -squared / (4 * width) - 0.5 * dimensions * float(np.log(width))

    def _log_weight(self, state: MDState) -> float:
        volume = volume_of(state)
        enthalpy = self._total_energy(state) + self.pressure * volume
        return float(np.log(volume)) - enthalpy / self.thermal_energy

    def _total_energy(self, state: MDState) -> float:
        return state.energy + state.kinetic_energy(self.masses)


def volume_of(state: MDState) -> float:
    """Return the volume of the first structure's cell, Å³."""
    return float(abs(np.linalg.det(state.cell[0])))


def check_jump(before: Array, after: Array) -> None:
    """Refuse a step in which an atom moves by more than :data:`LONGEST_JUMP`.

    Parameters
    ----------
    before, after
        Positions, shape (n_atoms, 3), Å.

    Raises
    ------
    InputError
        Names the atom and how far it went.
    """
    squared = ((after - before) ** 2).sum(axis=1)
    if not squared.max() <= LONGEST_JUMP**2:  # `not <=` so that NaN counts as a jump
        atom = int(np.argmax(np.where(np.isnan(squared), np.inf, squared)))
        raise InputError(
            f"atom {atom} moved by {float(squared[atom]) ** 0.5:.3g} Å in one step, at most {LONGEST_JUMP} Å is sane; "
            "shorten the time step, relax the structure first, or use a model made for it"
        )
