"""One step of molecular dynamics of a batch of structures: velocity Verlet and Langevin.

Single runs, replicas, sampling and the physics checks use these integrators; moves of the cell are in
:mod:`mlff_core.dynamics.barostat`. Units are eV, Å and amu; time is in Å·√(amu/eV), see
:data:`mlff_core.units.FS_PER_TIME_UNIT`. The numbers are NumPy arrays or tensors, as given by the surface; the
operators below work for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol

import numpy as np
from torch import Tensor

from mlff_core.dynamics.state import MDState, Numbers
from mlff_core.dynamics.surface import Surface
from mlff_core.errors import InputError

LONGEST_JUMP = 1.0
"""Largest displacement of an atom in one step, Å; a larger one is unphysical."""


class Integrator(Protocol[Numbers]):
    """The interface of an integrator."""

    def advance(self, state: MDState[Numbers], *, want_stress: bool) -> MDState[Numbers]:
        """Return the state one step later."""


class VelocityVerlet(Generic[Numbers]):
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

    def __init__(self, surface: Surface[Numbers], masses: Numbers, timestep: float) -> None:
        self.surface: Surface[Numbers] = surface
        self.masses: Numbers = masses
        self.timestep = timestep

    def advance(self, state: MDState[Numbers], *, want_stress: bool) -> MDState[Numbers]:
        """Return the state one step later."""
        velocities = state.velocities + 0.5 * self.timestep * state.forces / self.masses
        positions = state.positions + self.timestep * velocities
        return _arrived(self, state, positions, velocities, state.bath_energies, want_stress)


class Langevin(Generic[Numbers]):
    """Constant temperature by the splitting BAOAB, with the smallest known error in averages over positions.

    B. Leimkuhler, C. Matthews, J. Chem. Phys. 138, 174102 (2013), doi:10.1063/1.4802990.

    Parameters
    ----------
    surface, masses, timestep
        See :class:`VelocityVerlet`.
    thermal_energy
        k·T, eV; one number, or one for each atom, shape (n_atoms, 1).
    friction
        1/(Å·√(amu/eV)).
    draw
        Returns the standard normal numbers of one step, shape (n_atoms, 3), each structure's from its own source
        where it is independent of the others.
    """

    def __init__(
        self,
        surface: Surface[Numbers],
        masses: Numbers,
        timestep: float,
        thermal_energy: float | Numbers,
        friction: float,
        draw: Callable[[], Numbers],
    ) -> None:
        self.surface: Surface[Numbers] = surface
        self.masses: Numbers = masses
        self.timestep = timestep
        self.draw: Callable[[], Numbers] = draw
        self.keep = float(np.exp(-friction * timestep))
        self.kick: Numbers = ((1.0 - self.keep**2) * thermal_energy / masses) ** 0.5
        if surface.mobile is not None:
            self.kick = self.kick * surface.mobile

    def advance(self, state: MDState[Numbers], *, want_stress: bool) -> MDState[Numbers]:
        """Return the state one step later."""
        half = 0.5 * self.timestep
        velocities = state.velocities + half * state.forces / self.masses
        positions = state.positions + half * velocities
        stirred = self.keep * velocities + self.kick * self.draw()
        heat = 0.5 * self.surface.sums(self.masses * (stirred**2 - velocities**2))
        positions = positions + half * stirred
        return _arrived(self, state, positions, stirred, state.bath_energies + heat, want_stress)


def _arrived(
    integrator: VelocityVerlet[Numbers] | Langevin[Numbers],
    state: MDState[Numbers],
    positions: Numbers,
    velocities: Numbers,
    bath_energies: Numbers,
    want_stress: bool,
) -> MDState[Numbers]:
    """Return the state at new positions, after the second half kick of the forces there."""
    check_jump(state.positions, positions)
    energies, forces, stresses = integrator.surface.evaluate(positions, state.cell, want_stress=want_stress)
    velocities = velocities + 0.5 * integrator.timestep * forces / integrator.masses
    return MDState(state.step + 1, positions, velocities, state.cell, energies, forces, stresses, bath_energies)


def check_jump(before: Numbers, after: Numbers) -> None:
    """Check that no atom moves by more than :data:`LONGEST_JUMP` in a step.

    Parameters
    ----------
    before, after
        Positions, shape (n_atoms, 3), Å.

    Raises
    ------
    InputError
        The message names the atom and its displacement.
    """
    squared = ((after - before) ** 2).sum(1)
    if not squared.max() <= LONGEST_JUMP**2:  # `not <=` so that NaN counts as a jump
        lengths = squared.cpu().numpy() if isinstance(squared, Tensor) else squared
        atom = int(np.argmax(np.where(np.isnan(lengths), np.inf, lengths)))
        raise InputError(
            f"atom {atom} moved by {float(lengths[atom]) ** 0.5:.3g} Å in one step, the most is {LONGEST_JUMP} Å; "
            "shorten the time step, relax the structure first, or use a model trained for such structures"
        )
