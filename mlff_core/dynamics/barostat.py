"""A barostat on top of Langevin dynamics; each structure of a batch has its own cell and its own cell moves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import expm

from mlff_core.dynamics.integrators import Langevin
from mlff_core.dynamics.multiple_time_steps import MultipleTimeSteps
from mlff_core.dynamics.state import Array, MDState
from mlff_core.errors import InputError
from mlff_core.units import GPA_PER_EV_PER_ANGSTROM3

COMPRESSIBILITY = 72.0
"""Compressibility of water, 0.45 GPa⁻¹, in Å³/eV. It sets how fast the volume relaxes, not the sampled volumes."""

PATIENCE = 50
"""Moves in a row that no structure takes, after which a warning says so; usually more than half are accepted."""


@dataclass(frozen=True, slots=True, eq=False)
class _Move:
    """A strain drawn for one structure, and the values that its acceptance needs."""

    state: MDState[Array]
    strain: Array
    mean: Array
    width: float
    chance: float


class LangevinBarostat:
    """Constant temperature and pressure: Langevin steps, and every few steps a Monte Carlo move of the cell.

    A move multiplies cell and positions by exp(ε) and velocities by its inverse, which conserves the phase-space
    volume. ε is drawn from one step of Brownian motion along the gradient of the enthalpy, as in stochastic cell
    rescaling (M. Bernetti, G. Bussi, J. Chem. Phys. 153, 114107 (2020), doi:10.1063/5.0020514), and is then accepted
    with the Metropolis–Hastings probability (G. O. Roberts, R. L. Tweedie, Bernoulli 2, 341 (1996),
    doi:10.2307/3318418), so that the sampled volumes are those of the ensemble for any length of the move. Their
    density is V · exp(−(K + U + P·V)/kT) with respect to the invariant measure of exp(ε), both for the volume alone and
    for the full cell (G. J. Martyna, D. J. Tobias, M. L. Klein, J. Chem. Phys. 101, 4177 (1994), doi:10.1063/1.467468).
    Between moves only positions, velocities and cells are kept. The structures of a batch are moved together, and each
    is accepted or rejected separately; if a move makes atoms overlap, no structure is moved.

    Parameters
    ----------
    langevin
        The thermostat, with one time step or with several.
    pressure
        eV/Å³.
    thermal_energy
        k·T, eV.
    relaxation_time
        Relaxation time of the volume of a material as soft as water, Å·√(amu/eV).
    generators
        Sources of random numbers, one for each structure.
    full_cell
        Move all six strains instead of the volume alone.
    every
        Steps between moves.
    """

    def __init__(
        self,
        langevin: Langevin[Array] | MultipleTimeSteps[Array],
        pressure: float,
        thermal_energy: float,
        relaxation_time: float,
        generators: Sequence[np.random.Generator],
        *,
        full_cell: bool,
        every: int = 10,
    ) -> None:
        self.langevin = langevin
        self.surface = langevin.surface
        self.masses = [langevin.masses[own] for own in langevin.surface.atoms]
        self.generators = generators
        self.pressure = pressure
        self.thermal_energy = thermal_energy
        self.full_cell = full_cell
        self.every = every
        self.mobility = COMPRESSIBILITY * thermal_energy * langevin.timestep * every / relaxation_time
        """Half the variance of ln V in one move, times the volume, Å³."""
        self._refused_in_a_row = 0

    def advance(self, state: MDState[Array], *, want_stress: bool) -> MDState[Array]:
        """Return the state one step later."""
        due = (state.step + 1) % self.every == 0
        state = self.langevin.advance(state, want_stress=want_stress or due)
        return self._noted(self._move(state), state) if due else state

    def _noted(self, after: MDState[Array], before: MDState[Array]) -> MDState[Array]:
        """Return the state after a move, with a warning where no structure has taken any of many moves."""
        self._refused_in_a_row = 0 if after is not before else self._refused_in_a_row + 1
        if self._refused_in_a_row == PATIENCE:
            pressure_gpa = self.pressure * GPA_PER_EV_PER_ANGSTROM3
            warnings.warn(
                f"the barostat has had no move of the volume accepted in {PATIENCE} tries at {pressure_gpa:g} GPa: the "
                "cell does not change; check the pressure and the starting structure",
                stacklevel=2,
            )
        return after

    def _move(self, state: MDState[Array]) -> MDState[Array]:
        before = [state.one(k, own) for k, own in enumerate(self.surface.atoms)]
        moves = [
            self._draw(one, masses, g) for one, masses, g in zip(before, self.masses, self.generators, strict=True)
        ]
        moved = _joined([move.state for move in moves])
        try:
            moved = self.surface.refresh(moved, want_stress=True)
        except InputError:
            return state  # atoms overlap there: a state of zero weight
        after = [
            self._decided(one, move, moved.one(k, own), masses)
            for k, (one, move, own, masses) in enumerate(
                zip(before, moves, self.surface.atoms, self.masses, strict=True)
            )
        ]
        return _joined(after) if any(now is not one for now, one in zip(after, before, strict=True)) else state

    def _draw(self, state: MDState[Array], masses: Array, random: np.random.Generator) -> _Move:
        """Return a move of one structure, its energy not yet computed."""
        width = self._width(state)
        mean = width * self._gradient(state, masses)
        strain = mean + np.sqrt(2 * width) * self._noise(random)
        # Drawn before the outcome is known, so that every path uses the same number of random numbers.
        chance = random.random()
        # An absurd pressure draws a strain whose exponential is no number, which is then refused like any bad move.
        with np.errstate(over="ignore", invalid="ignore"):
            stretch = expm(strain)
            moved = replace(
                state,
                positions=state.positions @ stretch,
                velocities=state.velocities @ expm(-strain),
                cell=state.cell @ stretch,
            )
        return _Move(moved, strain, mean, width, chance)

    def _decided(self, state: MDState[Array], move: _Move, moved: MDState[Array], masses: Array) -> MDState[Array]:
        """Return the moved structure, or ``state`` itself if the move is rejected."""
        width_back = self._width(moved)
        mean_back = width_back * self._gradient(moved, masses)
        log_ratio = (
            self._log_weight(moved, masses)
            + self._log_density(-move.strain - mean_back, width_back)
            - self._log_weight(state, masses)
            - self._log_density(move.strain - move.mean, move.width)
        )
        if np.log(move.chance) >= log_ratio:
            return state
        work = _total_energy(moved, masses) - _total_energy(state, masses)
        return replace(moved, bath_energies=state.bath_energies + work)

    def _width(self, state: MDState[Array]) -> float:
        """Return half the variance of a strain in one move, such that their trace, ln V, has the wanted variance."""
        return self.mobility / (volume_of(state) * (3.0 if self.full_cell else 9.0))

    def _gradient(self, state: MDState[Array], masses: Array) -> Array:
        """Return the gradient of the log weight in the strain, shape (3, 3), for masses (n_atoms, 1), amu."""
        if state.stresses is None:
            raise InputError("the barostat needs a stress, but the state has none; evaluate it with want_stress=True")
        volume = volume_of(state)
        kinetic = (masses * state.velocities).T @ state.velocities
        virial = volume * (self.pressure * np.eye(3) + state.stresses[0]) - kinetic
        gradient: Array = np.eye(3) - 0.5 * (virial + virial.T) / self.thermal_energy
        # Volume alone: the strain is one number times the unit matrix, and its gradient is the trace.
        return gradient if self.full_cell else np.eye(3) * float(np.trace(gradient))

    def _noise(self, random: np.random.Generator) -> Array:
        if not self.full_cell:
            return np.eye(3) * float(random.standard_normal())
        drawn = random.standard_normal((3, 3))
        return np.asarray(0.5 * (drawn + drawn.T))

    def _log_density(self, miss: Array, width: float) -> float:
        """Return the log of the density of drawing a strain that differs from the mean of its move by ``miss``."""
        squared = float((miss**2).sum()) if self.full_cell else float(miss[0, 0] ** 2)
        dimensions = 6 if self.full_cell else 1
        return -squared / (4 * width) - 0.5 * dimensions * float(np.log(width))

    def _log_weight(self, state: MDState[Array], masses: Array) -> float:
        volume = volume_of(state)
        enthalpy = _total_energy(state, masses) + self.pressure * volume
        return float(np.log(volume)) - enthalpy / self.thermal_energy


def volume_of(state: MDState[Array]) -> float:
    """Return the volume of the first structure's cell, Å³."""
    return float(abs(np.linalg.det(state.cell[0])))


def _total_energy(state: MDState[Array], masses: Array) -> float:
    return state.energy + state.kinetic_energy(masses)


def _joined(states: Sequence[MDState[Array]]) -> MDState[Array]:
    """Return the states of single structures as one state of all, the inverse of :meth:`MDState.one`."""
    stresses = [state.stresses for state in states if state.stresses is not None]
    return MDState(
        states[0].step,
        np.concatenate([state.positions for state in states]),
        np.concatenate([state.velocities for state in states]),
        np.concatenate([state.cell for state in states]),
        np.concatenate([state.energies for state in states]),
        np.concatenate([state.forces for state in states]),
        np.concatenate(stresses) if len(stresses) == len(states) else None,
        np.concatenate([state.bath_energies for state in states]),
    )
