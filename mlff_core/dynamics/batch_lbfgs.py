"""L-BFGS for many structures in one batch: each structure has its own, and all make a step at once."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_STEP = 0.2
"""Largest displacement of an atom in one step, Å."""

MEMORY = 30
"""Number of earlier steps that are remembered."""

STIFFNESS = 70.0
"""Curvature of the first step, eV/Å², as ASE's."""

STIFFNESSES = (10.0, 500.0)
"""Range of the curvatures that later steps start from, eV/Å²."""


class BatchLBFGS:
    """L-BFGS without line search (J. Nocedal, Math. Comput. 35, 773 (1980), doi:10.1090/S0025-5718-1980-0572855-7).

    Parameters
    ----------
    owner
        Structure of each atom, shape (n_atoms,), int64.
    n_systems
        Number of structures.
    """

    def __init__(self, owner: Tensor, n_systems: int) -> None:
        self.owner = owner
        self.n_systems = n_systems
        self._steps: list[Tensor] = []
        self._changes: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._step: Tensor | None = None
        self._forces: Tensor | None = None

    def step(self, forces: Tensor) -> Tensor:
        """Return the next displacements for the forces at the present positions.

        Parameters
        ----------
        forces
            Shape (n_atoms, 3), eV/Å, float64.

        Returns
        -------
        Tensor
            Shape (n_atoms, 3), Å; no atom moves by more than :data:`MAX_STEP`.
        """
        self._remember(forces)
        direction = forces.clone()
        factors = []
        for step, change, weight in zip(self._steps[::-1], self._changes[::-1], self._weights[::-1], strict=True):
            factor = weight * self._dot(step, direction)
            direction -= factor[self.owner, None] * change
            factors.append(factor)
        direction /= self._stiffness()[self.owner, None]
        for step, change, weight, factor in zip(self._steps, self._changes, self._weights, factors[::-1], strict=True):
            direction += (factor - weight * self._dot(change, direction))[self.owner, None] * step
        # A direction that leads uphill comes from a history of another valley: steepest descent instead.
        uphill = self._dot(direction, forces) <= 0
        direction = torch.where(uphill[self.owner, None], forces / STIFFNESS, direction)
        self._forces = forces
        self._step = self._shortened(direction)
        return self._step

    def moved(self, displacements: Tensor) -> None:
        """Tell by how much the atoms really moved, (n_atoms, 3), Å, where that is not what :meth:`step` returned."""
        self._step = displacements

    def keep(self, atoms: Tensor, systems: Tensor, owner: Tensor) -> None:
        """Drop the structures that are done.

        Parameters
        ----------
        atoms, systems
            Which atoms and structures stay, shapes (n_atoms,) and (n_systems,), bool.
        owner
            New structure of each atom that stays, shape (n_atoms,), int64.
        """
        self.owner, self.n_systems = owner, int(systems.sum())
        self._steps = [step[atoms] for step in self._steps]
        self._changes = [change[atoms] for change in self._changes]
        self._weights = [weight[systems] for weight in self._weights]
        if self._step is not None and self._forces is not None:
            self._step, self._forces = self._step[atoms], self._forces[atoms]

    def _remember(self, forces: Tensor) -> None:
        if self._step is None or self._forces is None:
            return
        change = self._forces - forces
        curvature = self._dot(self._step, change)
        # A pair without positive curvature says nothing about the minimum; weight zero leaves it out.
        useful = curvature > 1e-10
        self._steps.append(self._step)
        self._changes.append(change)
        self._weights.append(torch.where(useful, 1.0 / curvature.clamp(min=1e-10), 0.0))
        for history in (self._steps, self._changes, self._weights):
            del history[:-MEMORY]

    def _stiffness(self) -> Tensor:
        """Return the curvature along the last change of the forces, shape (n_systems,), eV/Å²."""
        if not self._steps:
            return torch.full((self.n_systems,), STIFFNESS, dtype=torch.float64, device=self.owner.device)
        curvature = self._weights[-1] * self._dot(self._changes[-1], self._changes[-1])
        return torch.where(curvature > 0, curvature.clamp(*STIFFNESSES), STIFFNESS)

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the scalar products of (n_atoms, 3) over each structure, shape (n_systems,)."""
        return a.new_zeros(self.n_systems).index_add_(0, self.owner, (a * b).sum(dim=1))

    def _shortened(self, step: Tensor) -> Tensor:
        """Return (n_atoms, 3), Å, scaled in each structure so that no atom moves by more than ``MAX_STEP``."""
        lengths = step.norm(dim=1)
        longest = lengths.new_zeros(self.n_systems).scatter_reduce(0, self.owner, lengths, "amax")
        shortened: Tensor = step * (MAX_STEP / longest.clamp(min=MAX_STEP))[self.owner, None]
        return shortened
