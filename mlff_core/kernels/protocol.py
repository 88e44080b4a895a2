"""The interfaces of kernels: one that evaluates, those that can more, and a stepper."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction


class Stepper(Protocol):
    """Evaluates the same structures repeatedly while their atoms and cells move; it searches their neighbours itself.

    Attributes
    ----------
    n_searches
        Number of neighbour searches so far.
    """

    n_searches: int

    def step(self, positions: Tensor, cell: Tensor, *, stress: bool) -> Prediction:
        """Return energies, forces, atom energies and, if wanted, stresses; the next step overwrites them.

        Parameters
        ----------
        positions
            New positions of the atoms, shape (n_atoms, 3), Å.
        cell
            New cells, shape (n_systems, 3, 3), Å, rows are lattice vectors.
        stress
            Compute the stress too.

        Raises
        ------
        InputError
            Positions or a cell are not finite, or atoms overlap.
        """


@dataclass(frozen=True, eq=False)
class Bounds:
    """Bounds on structures like the training data.

    Parameters
    ----------
    lowest, highest
        Energy of an atom of each element relative to the reference energy, shape (n_species,) each, eV, float64.
    closest
        Shortest distance of each pair of elements, shape (n_species, n_species), Å, float64.
    largest_force
        Largest force component, eV/Å.
    """

    lowest: Tensor
    highest: Tensor
    closest: Tensor
    largest_force: float


class Watch(Protocol):
    """Object that a kernel calls if an atom is outside the bounds.

    Attributes
    ----------
    is_done
        True if it need not be called again.
    """

    is_done: bool

    def look(self, batch: AtomicBatch, edges: EdgeList, atom_energies: Tensor, forces: Tensor | None) -> None:
        """Check an evaluation in detail: energies of atoms (n_atoms,), eV, and forces (n_atoms, 3), eV/Å."""


class Kernel(Protocol):
    """An implementation that evaluates a student.

    Attributes
    ----------
    name
        The key in :data:`mlff_core.kernels.choose.KERNELS`.
    checks_distances
        True if it refuses overlapping atoms itself.
    selects_edges
        True if edges beyond the cutoff cost it almost nothing, so that the caller need not remove them.
    """

    name: str
    checks_distances: bool
    selects_edges: bool

    def evaluate(self, batch: AtomicBatch, edges: EdgeList, want: Collection[str]) -> Prediction:
        """Return the properties in ``want`` for a batch and its edges."""


@runtime_checkable
class BoundedKernel(Kernel, Protocol):
    """A kernel that compares each evaluation with bounds at no cost."""

    def keep_watch(self, bounds: Bounds, watch: Watch) -> None:
        """Call ``watch`` after every evaluation in which an atom is outside the bounds."""


@runtime_checkable
class FieldKernel(Kernel, Protocol):
    """A kernel that takes outer electrostatic potentials, which act on the student's charges."""

    def evaluate_in_field(self, batch: AtomicBatch, edges: EdgeList, potentials: Tensor) -> Prediction:
        """Return energies E + Σ_i φ_i q_i, forces −dE/dx − Σ_i φ_i dq_i/dx, and charges.

        Atom energies are those without the field; a kernel that compares them with bounds itself may leave them out.

        Parameters
        ----------
        batch, edges
            The structures.
        potentials
            φ at each atom, shape (n_atoms,), eV/e; the forces are those at constant φ.
        """


@runtime_checkable
class SteppingKernel(Kernel, Protocol):
    """A kernel that makes steppers, which are faster for moving structures than :meth:`Kernel.evaluate` with edges."""

    def stepper(self, batch: AtomicBatch, skin: float) -> Stepper:
        """Return a stepper for these structures, whose neighbour search reaches further by the skin, Å."""

    def keeps(self, stepper: object, batch: AtomicBatch) -> bool:
        """Return whether a stepper made before is valid for these structures."""
