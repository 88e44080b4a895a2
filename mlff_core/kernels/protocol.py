"""What kernels are to whoever calls them: one that evaluates, one that also steps, and the stepper it makes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction


class Stepper(Protocol):
    """Evaluates the same structures again and again while their atoms and cells move, neighbours included.

    Attributes
    ----------
    n_searches
        Neighbour searches so far.
    """

    n_searches: int

    def step(self, positions: Tensor, cell: Tensor, *, stress: bool) -> Prediction:
        """Return energies, forces, energies of atoms and, if it is asked for, stresses; the next step overwrites them.

        Parameters
        ----------
        positions
            Shape (n_atoms, 3), Å.
        cell
            Shape (n_systems, 3, 3), Å, rows are lattice vectors.
        stress
            Compute the stress too.

        Raises
        ------
        InputError
            Positions or a cell that are not finite, or overlapping atoms.
        """


@dataclass(frozen=True, eq=False)
class Bounds:
    """What the atoms of structures like the training data keep to.

    Parameters
    ----------
    lowest, highest
        Energy of an atom of each element less the reference energy, shape (n_species,) each, eV, float64.
    closest
        Distance of each pair of elements, shape (n_species, n_species), Å, float64.
    largest_force
        Of any component, eV/Å.
    """

    lowest: Tensor
    highest: Tensor
    closest: Tensor
    largest_force: float


class Watch(Protocol):
    """What a kernel calls where an atom is outside the bounds.

    Attributes
    ----------
    is_done
        True if it need not be called again.
    """

    is_done: bool

    def look(self, batch: AtomicBatch, edges: EdgeList, atom_energies: Tensor, forces: Tensor | None) -> None:
        """Look at an evaluation closely: energies of atoms (n_atoms,), eV, and forces (n_atoms, 3), eV/Å."""


class Kernel(Protocol):
    """What a student needs to be evaluated.

    Attributes
    ----------
    name
        The key in :data:`mlff_core.kernels.choose.KERNELS`.
    checks_distances
        True if it refuses overlapping atoms by itself.
    selects_edges
        True if edges beyond the cutoff cost it next to nothing, so that nobody need leave them out.
    """

    name: str
    checks_distances: bool
    selects_edges: bool

    def evaluate(self, batch: AtomicBatch, edges: EdgeList, want: Collection[str]) -> Prediction:
        """Return what is in ``want`` for a batch and its edges."""


@runtime_checkable
class BoundedKernel(Kernel, Protocol):
    """A kernel that compares each evaluation with bounds at no cost."""

    def keep_watch(self, bounds: Bounds, watch: Watch) -> None:
        """Call ``watch`` after every evaluation in which an atom is outside the bounds."""


@runtime_checkable
class SteppingKernel(Kernel, Protocol):
    """A kernel that has something faster for structures that move than :meth:`Kernel.evaluate` with edges."""

    def stepper(self, batch: AtomicBatch, skin: float) -> Stepper:
        """Return what evaluates the structures again and again; its search reaches further by the skin, Å."""

    def keeps(self, stepper: object, batch: AtomicBatch) -> bool:
        """Return whether a stepper made before is the one for these structures."""
