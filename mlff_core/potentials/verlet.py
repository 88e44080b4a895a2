"""A potential with a Verlet list of neighbours, for structures that move little from call to call."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from mlff_core.errors import OverlapError
from mlff_core.kernels.protocol import Stepper
from mlff_core.potentials.checks import check_electrons, check_has_volume, check_state
from mlff_core.potentials.guard import Guard
from mlff_core.potentials.interface import CHARGES, Potential
from mlff_core.potentials.trial import TrialSteps
from mlff_core.potentials.wrapping import WrappedPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.dipole import check_not_periodic
from mlff_core.structures.neighbors import EdgeList, VerletNeighborList
from mlff_core.structures.prediction import Prediction

LOOK_EVERY = 16
"""Steps of a stepper between two checks of the guard; each check waits for the GPU once more."""


class VerletPotential(WrappedPotential):
    """A potential for a sequence of similar structures, which keeps its neighbours in a Verlet list.

    Returns what the wrapped potential returns, with one exception: if an optimiser's trial step makes atoms overlap,
    the energy is finite (:class:`~mlff_core.potentials.trial.Trial`). Where that has a stepper, as
    students on a GPU do, the stepper has the neighbours; else they are a list here. Either is of the last batch, so
    each simulation needs its own.

    Parameters
    ----------
    potential
        The wrapped potential.
    skin
        Extra reach of the list, Å; see :class:`~mlff_core.structures.neighbors.VerletNeighborList`.
    """

    def __init__(self, potential: Potential, skin: float = 1.0) -> None:
        super().__init__(potential)
        self.neighbors = VerletNeighborList(potential.card.cutoff, skin) if potential.uses_edges else None
        self.skin = skin
        self._stepper: Stepper | None = None
        self._checked_build = 0
        self.trials = TrialSteps()
        self._lowest: Tensor | None = None
        self._n_steps = 0

    @property
    def n_searches(self) -> int:
        """Number of neighbour searches so far; with a stepper, only those for the present structures."""
        if self._stepper is not None:
            return self._stepper.n_searches
        return 0 if self.neighbors is None else self.neighbors.n_builds

    def predict(
        self,
        batch: AtomicBatch,
        *,
        want: Iterable[str] = ("energy", "forces"),
        edges: EdgeList | None = None,
        dynamics: bool | None = None,
        potentials: Tensor | None = None,
    ) -> Prediction:
        """Return what the wrapped potential gives; see :meth:`Potential.predict`.

        Parameters
        ----------
        batch, want, edges
            As there.
        dynamics
            True in dynamics, which stops if atoms overlap; False in anything else, such as an optimisation; None if
            the caller does not know.
        potentials
            Outer electrostatic potential at each atom, shape (n_atoms,), eV/e: the result is that of
            :meth:`Potential.predict_in_field`, whatever is wanted. None for no field.
        """
        batch = batch.to(self.device, self.dtype)
        try:
            if dynamics is False and self.guard is not None and not self.guard.is_done:
                prediction = self._tried(self.guard, batch, want, edges, potentials)
            else:
                self._lowest = None
                prediction = self._predicted(batch, want, edges, potentials)
        except OverlapError as error:
            trial = self.trials.met(batch, dynamics, error)
            with self._unwatched():
                if potentials is not None:
                    return trial.on(self.potential.predict_in_field(trial.stand_in, potentials))
                return trial.on(self.potential.predict(trial.stand_in, want=want))
        self.trials.passed(batch, dynamics)
        return prediction

    def _tried(
        self,
        guard: Guard,
        batch: AtomicBatch,
        want: Iterable[str],
        edges: EdgeList | None,
        potentials: Tensor | None,
    ) -> Prediction:
        """Return the prediction, for structures that may be the trial step of an optimiser.

        An optimiser goes back from a step that raises the energy of every structure, so the guard's warning of such a
        step would be false, and it comes only once.
        """
        with guard.held() as findings:
            prediction = self._predicted(batch, want, edges, potentials)
        energy, before = prediction.energy.detach(), self._lowest
        if before is None or before.shape != energy.shape:
            before = torch.full_like(energy, torch.inf)
        guard.act(findings, is_trial=bool((energy > before).all()))
        self._lowest = torch.minimum(energy, before)
        return prediction

    def _unwatched(self) -> AbstractContextManager[None]:
        """Return a context without the guard, for a structure that was computed before."""
        return nullcontext() if self.guard is None else self.guard.paused()

    def _predicted(
        self, batch: AtomicBatch, want: Iterable[str], edges: EdgeList | None, potentials: Tensor | None
    ) -> Prediction:
        if potentials is not None:
            return self.potential.predict_in_field(batch, potentials, self.edges(batch) if edges is None else edges)
        if edges is not None or self.neighbors is None:
            return self.potential.predict(batch, want=want, edges=edges)
        want = frozenset({want} if isinstance(want, str) else want)
        # A stepper gives no charges.
        if self.potential.has_stepper and not CHARGES.intersection(want):
            stepper = self._follow(batch)
            return self._stepped(stepper, batch, self._check_rest(batch, want))
        edges = self.edges(batch)
        if self._checked_build == self.neighbors.n_builds:
            # The list was not rebuilt: the same atoms in the same cell, near the positions that were checked.
            return self.potential.predict_checked(batch, self._check_rest(batch, want), edges)
        prediction = self.potential.predict(batch, want=want, edges=edges)
        self._checked_build = self.neighbors.n_builds
        return prediction

    def _check_rest(self, batch: AtomicBatch, want: Iterable[str]) -> frozenset[str]:
        """Return the wanted names, after the checks that neither the list of neighbours nor a stepper makes."""
        wanted = self._check_want(want)
        check_state(self.card, batch)
        if batch.charge is not None and self.card.charges != "neutral":  # it may change while the atoms do not
            check_electrons(self.card, batch)
        if "stress" in wanted:
            check_has_volume(batch)
        if "dipole" in wanted:
            check_not_periodic(batch)
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
        """Return the neighbours that the wrapped potential needs; None if it takes none."""
        if self.neighbors is None:
            return None
        return self.neighbors.candidates(batch) if self.potential.selects_edges else self.neighbors.edges(batch)

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        try:
            if edges is None and self.potential.has_stepper and not CHARGES.intersection(want):
                prediction = self._stepped(self._follow(batch), batch, want)
            else:
                prediction = super().predict_checked(batch, want, self.edges(batch) if edges is None else edges)
        except OverlapError as error:
            trial = self.trials.met(batch, None, error)
            with self._unwatched():
                return trial.on(self.potential.predict_checked(trial.stand_in, want))
        self.trials.passed(batch, None)
        return prediction

    def hessian(self, batch: AtomicBatch) -> Tensor:
        """Return the wrapped potential's Hessian, shape (3·n_atoms, 3·n_atoms), eV/Å²."""
        return self.potential.hessian(batch)


def _step(stepper: Stepper, batch: AtomicBatch, want: Collection[str]) -> Prediction:
    """Return copies of the wanted results of a step."""
    given = stepper.step(batch.positions.detach(), batch.cell.detach(), stress="stress" in want)

    def own(name: str) -> Tensor | None:
        tensor: Tensor | None = getattr(given, name) if name in want else None
        return None if tensor is None else tensor.clone()

    return Prediction(
        energy=given.energy.clone(), forces=own("forces"), stress=own("stress"), atom_energies=own("atom_energies")
    )
