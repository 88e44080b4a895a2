"""A finite, steep energy instead of an error when the trial step of an optimiser makes atoms overlap."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlff_core.errors import OverlapError
from mlff_core.model.derivatives import forces_from_edge_gradients, sum_over_systems, virial_from_edge_gradients
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import (
    JUMP,
    NUCLEUS,
    OVERLAP,
    SAME_STEP,
    EdgeList,
    edge_vectors,
    find_neighbors,
)
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial
from mlff_core.units import COULOMB_EV_ANGSTROM


@dataclass(frozen=True, eq=False)
class Trial:
    """A trial step with overlapping atoms, and how its prediction is made.

    The energy is that of the last structure without overlaps plus the repulsion of the nuclei, Z_i Z_j e²/(4πε₀ r),
    summed over the overlapping pairs; forces and stress are the derivatives of this repulsion. So the energy is above
    the last good one whatever the model would predict, and no line search accepts the step.

    Parameters
    ----------
    stand_in
        The structures to compute: those with overlaps are replaced by the last ones without.
    batch
        The structures of the trial step.
    pairs
        Their overlapping pairs, in both directions.
    """

    stand_in: AtomicBatch
    batch: AtomicBatch
    pairs: EdgeList

    def on(self, prediction: Prediction) -> Prediction:
        """Return the prediction of the trial step.

        Parameters
        ----------
        prediction
            Prediction of :attr:`stand_in`.
        """
        batch, pairs = self.batch, self.pairs
        energies, gradients, vectors = repulsion(batch, pairs)
        atom_energies = torch.zeros(batch.n_atoms, dtype=torch.float64, device=batch.device)
        atom_energies = atom_energies.index_add(0, pairs.centers, energies)
        overlaps = overlapping_systems(batch, pairs)
        forces = stress = None
        if prediction.forces is not None:
            own = forces_from_edge_gradients(gradients, pairs.centers, pairs.neighbors, batch.n_atoms)
            forces = torch.where(overlaps[batch.system_idx][:, None], own.to(prediction.forces), prediction.forces)
        if prediction.stress is not None:
            virial = virial_from_edge_gradients(vectors, gradients, pairs.centers, batch.system_idx, batch.n_systems)
            own = stress_from_virial(virial, batch.cell.detach().double()).to(prediction.stress)
            stress = torch.where(overlaps[:, None, None], own, prediction.stress)
        shares = prediction.atom_energies
        return replace(
            prediction,
            energy=prediction.energy + sum_over_systems(atom_energies, batch.system_idx, batch.n_systems),
            forces=forces,
            stress=stress,
            atom_energies=None if shares is None else shares + atom_energies.to(shares),
        )


class TrialSteps:
    """Distinguishes the trial steps of optimisers, in which atoms may overlap, from dynamics, in which they may not.

    A line search tries a step, compares the energy and goes back. A trial step is recognised by its length: an atom has
    moved by more than :data:`~mlff_core.structures.neighbors.JUMP` since the last structure without overlaps. Atoms
    that came close in small steps are refused, and so is an overlap in the first structure. Dynamics that jumped into
    an overlap is recognised at the next step, where most atoms repeat their step.
    """

    def __init__(self) -> None:
        self._good: AtomicBatch | None = None
        self._trial: Tensor | None = None

    def passed(self, batch: AtomicBatch, dynamics: bool | None) -> None:
        """Record a structure without overlaps.

        Parameters
        ----------
        batch
            The structures.
        dynamics
            See :meth:`met`.

        Raises
        ------
        OverlapError
            The run went through overlapping atoms.
        """
        if self._trial is not None:
            trial, self._trial = self._trial, None
            if dynamics is None and self._follows(batch) and self._goes_on(trial, batch.positions):
                self._good = batch
                raise OverlapError(
                    f"the run went on through atoms that overlap, closer than {OVERLAP} Å; check the structure or "
                    "shorten the time step"
                )
        # No copy, which would cost a small system one percent of its step. If a caller writes new positions into the
        # same tensor, nothing seems to have moved, and overlaps are refused.
        self._good = batch

    def met(self, batch: AtomicBatch, dynamics: bool | None, error: OverlapError) -> Trial:
        """Return the trial step for structures with overlaps.

        Parameters
        ----------
        batch
            The structures.
        dynamics
            True in dynamics, False in anything else, None if the caller does not know.
        error
            Error of the potential.

        Raises
        ------
        OverlapError
            ``error``, if this is not a trial step.
        """
        good = self._good
        if dynamics or good is None or not self._follows(batch):
            raise error
        if self._trial is None:
            jumped = float((batch.positions - good.positions).detach().norm(dim=1).max()) > JUMP
        else:
            jumped = dynamics is not None or not self._goes_on(self._trial, batch.positions)
        # Slightly beyond the limit: the overlap was found in another precision.
        pairs = find_neighbors(batch, 1.001 * OVERLAP)
        if not jumped or pairs.n_edges == 0:
            self._trial = None
            raise error
        if self._trial is None:
            # A caller that alternates between two arrays would now write into this one.
            self._good = good = replace(good, positions=good.positions.clone(), cell=good.cell.clone())
        self._trial = batch.positions.detach().clone()
        overlaps = overlapping_systems(batch, pairs)
        return Trial(
            replace(
                batch,
                positions=torch.where(overlaps[batch.system_idx][:, None], good.positions, batch.positions),
                cell=torch.where(overlaps[:, None, None], good.cell, batch.cell),
            ),
            batch,
            pairs,
        )

    def _follows(self, batch: AtomicBatch) -> bool:
        """Return whether the atoms are those of the last good structures."""
        good = self._good
        return (
            good is not None
            and good.positions.shape == batch.positions.shape
            and good.cell.shape == batch.cell.shape
            and torch.equal(good.atomic_numbers, batch.atomic_numbers)
            and torch.equal(good.system_idx, batch.system_idx)
            and torch.equal(good.pbc, batch.pbc)
        )

    def _goes_on(self, trial: Tensor, now: Tensor) -> bool:
        """Return whether most atoms repeated, after the trial step (n_atoms, 3), Å, the step that led to it."""
        assert self._good is not None
        before, after = trial - self._good.positions, now - trial
        same = (after - before).square().sum(dim=1) < SAME_STEP**2 * before.square().sum(dim=1)
        return float(after.square().sum(dim=1).max()) > JUMP**2 and float(same.double().mean()) > 0.5


def overlapping_systems(batch: AtomicBatch, pairs: EdgeList) -> Tensor:
    """Return which structures contain one of the pairs, shape (n_systems,), bool."""
    overlaps = torch.zeros(batch.n_systems, dtype=torch.bool, device=batch.device)
    overlaps[batch.system_idx[pairs.centers]] = True
    return overlaps


def repulsion(batch: AtomicBatch, pairs: EdgeList) -> tuple[Tensor, Tensor, Tensor]:
    """Return (half the energy of each directed edge, its gradient, the vectors), all float64.

    The energy is Z_i Z_j e²/(4πε₀ r). Within :data:`~mlff_core.structures.neighbors.NUCLEUS` it is that of a point
    charge in a uniformly charged ball, which is finite and has a continuous force.

    Parameters
    ----------
    batch
        The structures.
    pairs
        Directed edges, every pair in both directions.

    Returns
    -------
    tuple of Tensor
        Shape (n_edges,), eV; (n_edges, 3), eV/Å; (n_edges, 3), Å.
    """
    with torch.no_grad():
        vectors = edge_vectors(batch, pairs).double()
        squared = (vectors * vectors).sum(dim=1)
        numbers = batch.atomic_numbers.double()
        charges = 0.5 * COULOMB_EV_ANGSTROM * numbers[pairs.centers] * numbers[pairs.neighbors]
        outside = squared.clamp(min=NUCLEUS**2).sqrt()
        inside = squared < NUCLEUS**2
        energies = torch.where(inside, 1.5 / NUCLEUS - 0.5 * squared / NUCLEUS**3, 1.0 / outside) * charges
        return energies, -(charges / outside**3)[:, None] * vectors, vectors
