"""A potential under a Verlet skin, for structures that move little from call to call."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from torch import Tensor

from mlff_core.kernels.protocol import Stepper
from mlff_core.potentials.checks import check_has_volume, check_state
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.wrapping import WrappedPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, VerletNeighborList
from mlff_core.structures.prediction import Prediction

LOOK_EVERY = 16
"""Steps of a stepper between two looks of the guard: each waits for the GPU once more."""


class VerletPotential(WrappedPotential):
    """A potential for a run of nearly equal structures: the neighbours are kept under a Verlet skin.

    Gives what the wrapped potential gives. Where that has a stepper, as students on a GPU do, the stepper has the
    neighbours; else they are a list here. Either is of the last batch, so each simulation needs its own.

    Parameters
    ----------
    potential
        What computes.
    skin
        Å; see :class:`~mlff_core.structures.neighbors.VerletNeighborList`.
    """

    def __init__(self, potential: Potential, skin: float = 1.0) -> None:
        super().__init__(potential)
        self.neighbors = VerletNeighborList(potential.card.cutoff, skin) if potential.uses_edges else None
        self.skin = skin
        self._stepper: Stepper | None = None
        self._checked_build = 0
        self._n_steps = 0

    @property
    def n_searches(self) -> int:
        """Neighbour searches so far; where a stepper makes them, those for the present structures."""
        if self._stepper is not None:
            return self._stepper.n_searches
        return 0 if self.neighbors is None else self.neighbors.n_builds

    def predict(
        self,
        batch: AtomicBatch,
        *,
        want: Iterable[str] = ("energy", "forces"),
        edges: EdgeList | None = None,
    ) -> Prediction:
        """Return what the wrapped potential gives; see :meth:`Potential.predict`."""
        if edges is not None or self.neighbors is None:
            return self.potential.predict(batch, want=want, edges=edges)
        batch = batch.to(self.device, self.dtype)
        if self.potential.has_stepper:
            stepper = self._follow(batch)
            return self._stepped(stepper, batch, self._check_rest(batch, want))
        edges = self.edges(batch)
        if self._checked_build == self.neighbors.n_builds:
            # The list has just found the atoms near where they were checked, the same ones in the same cell.
            return self.potential.predict_checked(batch, self._check_rest(batch, want), edges)
        prediction = self.potential.predict(batch, want=want, edges=edges)
        self._checked_build = self.neighbors.n_builds
        return prediction

    def _check_rest(self, batch: AtomicBatch, want: Iterable[str]) -> frozenset[str]:
        """Return what is wanted, after the checks that neither the list of neighbours nor a stepper makes."""
        wanted = self._check_want(want)
        check_state(self.card, batch)
        if "stress" in wanted:
            check_has_volume(batch)
        return wanted

    def _follow(self, batch: AtomicBatch) -> Stepper:
        """Return the stepper of these structures."""
        stepper = self.potential.stepper(batch, self.skin, self._stepper)
        if stepper is not self._stepper:
            self._stepper, self._n_steps = stepper, 0
        return stepper

    def _stepped(self, stepper: Stepper, batch: AtomicBatch, want: Collection[str]) -> Prediction:
        found = _step(stepper, batch, want)
        if self.guard is not None and not self.guard.is_done:
            if self._n_steps == 0:
                self.guard.look_at_structures(batch)
            if self._n_steps % LOOK_EVERY == 0:
                self.guard.look(batch, None, found.need("atom_energies", self.card.name), found.forces)
            self._n_steps += 1
        return found

    def edges(self, batch: AtomicBatch) -> EdgeList | None:
        """Return the neighbours that the wrapped potential wants; None if it takes none."""
        if self.neighbors is None:
            return None
        return self.neighbors.candidates(batch) if self.potential.selects_edges else self.neighbors.edges(batch)

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        if edges is None:
            if self.potential.has_stepper:
                return self._stepped(self._follow(batch), batch, want)
            edges = self.edges(batch)
        return super().predict_checked(batch, want, edges)

    def hessian(self, batch: AtomicBatch) -> Tensor:
        """Return the wrapped potential's Hessian, shape (3·n_atoms, 3·n_atoms), eV/Å²."""
        return self.potential.hessian(batch)


def _step(stepper: Stepper, batch: AtomicBatch, want: Collection[str]) -> Prediction:
    """Return own copies of what a step gives and is wanted."""
    given = stepper.step(batch.positions.detach(), batch.cell.detach(), stress="stress" in want)

    def own(name: str) -> Tensor | None:
        tensor: Tensor | None = getattr(given, name) if name in want else None
        return None if tensor is None else tensor.clone()

    return Prediction(
        energy=given.energy.clone(), forces=own("forces"), stress=own("stress"), atom_energies=own("atom_energies")
    )
