"""The energy surface of a batch of structures: energies, forces and stresses at any positions and cells."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlff_core.dynamics.state import Array, Mask, MDState, Numbers
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.far import moved_near_origin

FORCES = frozenset({"energy", "forces"})
STRESS = FORCES | {"stress"}


class Surface(ABC, Generic[Numbers]):
    """The interface from which an integrator gets energies and forces.

    Attributes
    ----------
    mobile
        1 for atoms that move and 0 for the others, whose force is zero; shape (n_atoms, 1), None if all move.
    atoms
        Slice of the atoms of each structure.
    """

    mobile: Numbers | None = None
    atoms: Sequence[slice]

    def evaluate(
        self, positions: Numbers, cell: Numbers, *, want_stress: bool
    ) -> tuple[Numbers, Numbers, Numbers | None]:
        """Return energies (n_systems,) eV, forces (n_atoms, 3) eV/Å and stresses (n_systems, 3, 3) eV/Å³ or None.

        Parameters
        ----------
        positions, cell
            Shapes (n_atoms, 3) and (n_systems, 3, 3), Å; rows of cells are lattice vectors.
        want_stress
            Whether to compute the stresses too.

        Raises
        ------
        InputError
            Positions or results are not finite, or atoms overlap.
        UnsupportedError
            The potential gives no forces.
        """
        return self._evaluate(positions, cell, want_stress)

    @abstractmethod
    def _evaluate(
        self, positions: Numbers, cell: Numbers, want_stress: bool
    ) -> tuple[Numbers, Numbers, Numbers | None]:
        """Return the values of :meth:`evaluate`."""

    @abstractmethod
    def sums(self, values: Numbers) -> Numbers:
        """Return the sums of ``values``, (n_atoms, 3), any unit, over each structure, shape (n_systems,)."""

    def refresh(self, state: MDState[Numbers], *, want_stress: bool) -> MDState[Numbers]:
        """Return the state with energies, forces and stresses computed again."""
        energies, forces, stresses = self.evaluate(state.positions, state.cell, want_stress=want_stress)
        return replace(state, energies=energies, forces=forces, stresses=stresses)


class PotentialSurface(Surface[Numbers]):
    """The surface of a potential, with a Verlet neighbour list.

    Parameters
    ----------
    potential
        Gives energies, forces and stresses.
    batch
        The structures; positions and cells change later, the atoms do not.
    mobile
        True for atoms that move, shape (n_atoms, 1); None for all. The force on the others is zero.
    """

    def __init__(self, potential: Potential, batch: AtomicBatch, mobile: Mask | None = None) -> None:
        self.potential = potential
        self.batch = batch.to(potential.device, potential.dtype)
        self.mobile = None if mobile is None else self.array(mobile)
        ends = np.cumsum([0, *self.batch.atoms_per_system()]).tolist()
        self.atoms = [slice(begin, end) for begin, end in pairwise(ends)]
        self._verlet = VerletPotential(potential)
        self._cell: Numbers | None = None
        self._shift: Numbers | None = None
        self._is_first = True

    def forget(self) -> None:
        """Drop the neighbour list, so that the next evaluation is the same as in a new process."""
        self._verlet = VerletPotential(self.potential)
        self._is_first = True  # where a structure lies is found anew too

    @property
    def n_builds(self) -> int:
        """Neighbour searches since the last :meth:`forget`."""
        return self._verlet.n_searches

    @abstractmethod
    def array(self, values: npt.NDArray[Any]) -> Numbers:
        """Return numbers of the host, of any shape and any unit, as arrays or tensors of this surface."""

    @abstractmethod
    def given(self, values: Tensor) -> Numbers:
        """Return a tensor of the potential, any shape and any unit, as float64 numbers of this surface."""

    @abstractmethod
    def placed(self, state: MDState[Array]) -> MDState[Numbers]:
        """Return a state of the host as a state of this surface."""

    @abstractmethod
    def on_host(self, state: MDState[Numbers]) -> MDState[Array]:
        """Return the same state in the host's memory."""

    def _evaluate(
        self, positions: Numbers, cell: Numbers, want_stress: bool
    ) -> tuple[Numbers, Numbers, Numbers | None]:
        """Return energies, forces and stresses."""
        batch = self.batch
        if cell is not self._cell:  # an unchanged cell is the same object from step to step
            batch = replace(batch, cell=torch.as_tensor(cell, dtype=batch.dtype, device=batch.device))
            self.batch, self._cell = batch, cell
        if self._is_first:
            self._shift, self._is_first = self._far_shift(positions), False
        if self._shift is not None:
            positions = positions - self._shift
        moved = batch.with_positions(torch.as_tensor(positions, dtype=batch.dtype, device=batch.device))
        prediction = self._verlet.predict(moved, want=STRESS if want_stress else FORCES, dynamics=True)
        if prediction.forces is None:
            raise UnsupportedError(f"{self.potential.card.name} gives no forces, which moving atoms needs")
        energies, forces = self.given(prediction.energy), self.given(prediction.forces)
        # A sum is finite only if all its terms are.
        if not math.isfinite(float(energies.sum() + forces.sum())):
            raise InputError(f"{self.potential.card.name} gave an energy or a force that is not finite")
        if self.mobile is not None:
            forces = forces * self.mobile
        return energies, forces, None if prediction.stress is None else self.given(prediction.stress)

    def _far_shift(self, positions: Numbers) -> Numbers | None:
        """Return how far each atom's structure is from the origin, (n_atoms, 3), Å; None if all are near it.

        Single precision would round coordinates there. Positions of the state stay as they are.
        """
        if self.potential.dtype != torch.float32:
            return None
        host = torch.as_tensor(positions).detach().cpu().double().numpy()
        shift = np.concatenate([host[own] - moved_near_origin(host[own]) for own in self.atoms])
        return self.array(shift) if shift.any() else None


class HostSurface(PotentialSurface[Array]):
    """A potential's surface for NumPy arrays, whose small operations are cheapest."""

    def array(self, values: npt.NDArray[Any]) -> Array:
        """Return the numbers themselves, of any shape and any unit."""
        return values

    def given(self, values: Tensor) -> Array:
        """Return a tensor of the potential, of any shape and any unit, as a float64 array."""
        found: Array = values.detach().double().cpu().numpy()
        return found

    def placed(self, state: MDState[Array]) -> MDState[Array]:
        """Return the state itself."""
        return state

    def on_host(self, state: MDState[Array]) -> MDState[Array]:
        """Return the state itself."""
        return state

    def sums(self, values: Array) -> Array:
        """Return the sums of ``values``, (n_atoms, 3), any unit, over each structure, shape (n_systems,)."""
        return sums_on_host(values, self.atoms)


class DeviceSurface(PotentialSurface[Tensor]):
    """A potential's surface for float64 tensors on the potential's device."""

    @cached_property
    def _counts(self) -> Tensor:
        """Atoms of each structure."""
        return torch.tensor([own.stop - own.start for own in self.atoms], device=self.potential.device)

    def array(self, values: npt.NDArray[Any]) -> Tensor:
        """Return numbers of the host, of any shape and any unit, as a float64 tensor on the device."""
        return torch.from_numpy(values.astype(np.float64, copy=False)).to(self.potential.device)

    def given(self, values: Tensor) -> Tensor:
        """Return a tensor of the potential, of any shape and any unit, in float64."""
        return values.detach().double()

    def placed(self, state: MDState[Array]) -> MDState[Tensor]:
        """Return the state on the device."""
        array = self.array
        return MDState(
            state.step,
            array(state.positions),
            array(state.velocities),
            array(state.cell),
            array(state.energies),
            array(state.forces),
            None if state.stresses is None else array(state.stresses),
            array(state.bath_energies),
        )

    def on_host(self, state: MDState[Tensor]) -> MDState[Array]:
        """Return the same state in the host's memory: positions (n_atoms, 3), Å, and all the others."""
        return MDState(
            state.step,
            state.positions.cpu().numpy(),
            state.velocities.cpu().numpy(),
            state.cell.cpu().numpy(),
            state.energies.cpu().numpy(),
            state.forces.cpu().numpy(),
            None if state.stresses is None else state.stresses.cpu().numpy(),
            state.bath_energies.cpu().numpy(),
        )

    def sums(self, values: Tensor) -> Tensor:
        """Return the sums of ``values``, (n_atoms, 3), any unit, over each structure, shape (n_systems,)."""
        # Not index_add, whose order of summation, and so the last bit, differs between calls on a GPU.
        return torch.segment_reduce(values.sum(dim=1), "sum", lengths=self._counts, unsafe=True)


def sums_on_host(values: Array, atoms: Sequence[slice]) -> Array:
    """Return the sums of ``values``, (n_atoms, 3), any unit, over the atoms of each structure, shape (n_systems,)."""
    if len(atoms) == 1:
        return np.array([values.sum()])
    return np.add.reduceat(values.sum(axis=1), [own.start for own in atoms])
