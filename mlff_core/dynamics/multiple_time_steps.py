"""Multiple time steps: short steps with a cheap potential, corrected at long steps by the accurate one."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic

from mlff_core.dynamics.integrators import Langevin, VelocityVerlet
from mlff_core.dynamics.state import MDState, Numbers
from mlff_core.dynamics.surface import Surface


class MultipleTimeSteps(Generic[Numbers]):
    """Steps by the reversible splitting r-RESPA.

    M. Tuckerman, B. J. Berne, G. J. Martyna, J. Chem. Phys. 97, 1990 (1992), doi:10.1063/1.463137.

    One step is half a kick of the difference of the forces, outer − inner, over the whole step, ``n_inner`` steps of
    the inner integrator with the inner forces, and the second half of the kick. The trajectory is that of the outer
    potential, whose energy is conserved, with an error of second order in both steps. A thermostat acts in the inner
    steps. With one inner step it is the inner integrator with the outer forces.

    The step is limited by resonance with the fastest vibration of the difference: about 3 fs with hydrogen atoms,
    more if they are heavy, the thermostat is strong, or the two potentials differ little.

    Parameters
    ----------
    surface
        Energies and forces of the outer potential.
    inner
        Integrator of the inner potential, on its own surface; its time step is that of ``n_inner`` steps in one.
    n_inner
        Inner steps in one step.
    """

    def __init__(
        self, surface: Surface[Numbers], inner: VelocityVerlet[Numbers] | Langevin[Numbers], n_inner: int
    ) -> None:
        self.surface: Surface[Numbers] = surface
        self.inner: VelocityVerlet[Numbers] | Langevin[Numbers] = inner
        self.n_inner = n_inner
        self.masses: Numbers = inner.masses
        self.timestep = n_inner * inner.timestep
        self._known: tuple[Numbers, Numbers, Numbers] | None = None

    def advance(self, state: MDState[Numbers], *, want_stress: bool) -> MDState[Numbers]:
        """Return the state one step later, with energy and forces of the outer potential."""
        half = 0.5 * self.timestep
        inner_forces = self._inner_forces(state)
        kicked = state.velocities + half * (state.forces - inner_forces) / self.masses
        moved = replace(state, velocities=kicked, forces=inner_forces, stresses=None)
        for _ in range(self.n_inner):
            moved = self.inner.advance(moved, want_stress=False)
        energies, forces, stresses = self.surface.evaluate(moved.positions, state.cell, want_stress=want_stress)
        self._known = moved.positions, state.cell, moved.forces
        return MDState(
            state.step + 1,
            moved.positions,
            moved.velocities + half * (forces - moved.forces) / self.masses,
            state.cell,
            energies,
            forces,
            stresses,
            moved.bath_energies,
        )

    def begin(self, state: MDState[Numbers]) -> Numbers:
        """Compute the inner forces at a state, for the step that begins there; return them, (n_atoms, 3), eV/Å."""
        surface: Surface[Numbers] = self.inner.surface
        _, forces, _ = surface.evaluate(state.positions, state.cell, want_stress=False)
        self._known = state.positions, state.cell, forces
        return forces

    def _inner_forces(self, state: MDState[Numbers]) -> Numbers:
        """Return the inner forces at a state, shape (n_atoms, 3), eV/Å, those of the last step if it led there."""
        if self._known is not None and self._known[0] is state.positions and self._known[1] is state.cell:
            return self._known[2]
        return self.begin(state)
