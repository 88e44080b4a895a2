"""The one interface behind which every model, teacher and exported file stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable

import torch
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.kernels.protocol import Stepper
from mlff_core.potentials.checks import (
    check_distances,
    check_finite,
    check_has_volume,
    check_one_system,
    check_supported,
)
from mlff_core.potentials.guard import Guard
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import OVERLAP, EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction

PROPERTIES = ("energy", "forces", "stress", "atom_energies", "energy_std", "forces_std")
"""Every name that ``want`` may hold."""

DEVIATIONS = frozenset({"energy_std", "forces_std"})
"""Those of them that say how sure a prediction is."""


class Potential(ABC):
    """Energies, forces and stresses of structures; always batched, always eV and Å.

    A subclass sets ``card``, ``device``, ``dtype`` and ``supports`` and writes :meth:`predict_checked`. The checks of
    the input are made in :meth:`predict`, so that it is refused with the same message everywhere. A potential keeps no
    state.

    Attributes
    ----------
    card
        Elements, cutoff, lineage.
    device, dtype
        Where and in which precision it computes; batches are brought there.
    supports
        The properties it can give, out of :data:`PROPERTIES`.
    uses_edges
        True if it takes a neighbour list, so that a caller may keep one under a skin.
    selects_edges
        True if edges beyond the cutoff cost it next to nothing, so that the caller need not leave them out.
    has_stepper
        True if :meth:`stepper` gives something faster than :meth:`predict` for structures that move.
    guard
        Warns of structures unlike the training data; None where nothing does.
    members
        The potentials that a committee is made of; empty where there is one model alone.
    """

    card: ModelCard
    device: torch.device
    dtype: torch.dtype
    supports: frozenset[str] = frozenset({"energy", "forces"})
    uses_edges: bool = False
    selects_edges: bool = False
    has_stepper: bool = False
    guard: Guard | None = None
    members: tuple[Potential, ...] = ()

    def predict(
        self,
        batch: AtomicBatch,
        *,
        want: Iterable[str] = ("energy", "forces"),
        edges: EdgeList | None = None,
    ) -> Prediction:
        """Return the wanted properties of every structure of the batch.

        Parameters
        ----------
        batch
            Structures; brought to the potential's device and precision.
        want
            Names out of :data:`PROPERTIES`; ``"energy"`` always comes.
        edges
            Neighbours of the batch within the cutoff, if the caller has them; searched otherwise.

        Raises
        ------
        InputError
            Unknown property, positions that are not finite, overlapping atoms, stress of a structure with no cell.
        UnsupportedError
            An element, charge, multiplicity or property that this potential cannot serve.
        """
        wanted = self._check_want(want)
        batch = batch.to(self.device, self.dtype)
        check_finite(batch)
        check_supported(self.card, batch)
        if self.guard is not None:
            self.guard.look_at_atoms(batch)
        if "stress" in wanted:
            check_has_volume(batch)
        if edges is not None:
            edges = edges.to(self.device, self.dtype)
        return self.predict_checked(batch, wanted, edges)

    @abstractmethod
    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what :meth:`predict` gives, for a caller that has made its checks; what a subclass writes.

        In a run the atoms, charges and wanted properties are those of the first step, and to look at them again at each
        one costs a small system more than its client's whole protocol does.

        Parameters
        ----------
        batch
            On the potential's device and in its precision; finite, with a volume where stress is wanted, of atoms that
            :meth:`check` has seen.
        want
            Names that the potential supports, ``"energy"`` among them.
        edges
            As :meth:`predict`.

        Raises
        ------
        InputError
            Overlapping atoms.
        """

    def check(self, batch: AtomicBatch) -> None:
        """Refuse what :meth:`predict` would refuse, without computing anything; engines call it when bound.

        Raises
        ------
        InputError
            No atoms, positions or cell that are not finite, bad numbers, overlapping atoms.
        UnsupportedError
            An element, charge or multiplicity that this potential cannot serve.
        """
        batch.validate_values()
        check_supported(self.card, batch)
        if self.guard is not None:
            self.guard.look_at_atoms(batch)
        edges = find_neighbors(batch, OVERLAP)
        check_distances(batch, edges, edge_vectors(batch, edges))

    def stepper(self, batch: AtomicBatch, skin: float, before: Stepper | None) -> Stepper:
        """Return what is faster than :meth:`predict` for structures that move, where there is such a thing.

        Parameters
        ----------
        batch
            The structures, on the potential's device and in its precision.
        skin
            Extra reach of its neighbour search, Å.
        before
            What was returned for the last batch; it is returned again while it serves.

        Raises
        ------
        InputError
            No atoms, or positions or a cell that are not finite.
        UnsupportedError
            No stepper (``has_stepper`` is False), or an element, charge or multiplicity that it cannot serve.
        """
        raise UnsupportedError(f"{self.card.name} has no stepper; call predict")

    def hessian(self, batch: AtomicBatch) -> Tensor:
        """Return the second derivatives of the energy of one structure, shape (3·n_atoms, 3·n_atoms), eV/Å².

        Central differences of the forces (step 0.01 Å in float32, 0.001 Å in float64), made symmetric. Potentials that
        can differentiate themselves do better.

        Raises
        ------
        InputError
            The batch holds more than one structure.
        """
        check_one_system(batch)
        batch = batch.to(self.device, self.dtype)
        step = 1e-2 if self.dtype == torch.float32 else 1e-3
        rows = []
        for k in range(3 * batch.n_atoms):
            shift = torch.zeros_like(batch.positions).view(-1)
            shift[k] = step
            moved = shift.view_as(batch.positions)
            forward = self.predict(batch.with_positions(batch.positions + moved)).forces
            backward = self.predict(batch.with_positions(batch.positions - moved)).forces
            if forward is None or backward is None:
                raise UnsupportedError(f"{self.card.name} gives no forces, so it has no Hessian")
            rows.append((backward - forward).reshape(-1) / (2 * step))
        hessian = torch.stack(rows)
        return 0.5 * (hessian + hessian.T)

    def _check_want(self, want: Iterable[str]) -> frozenset[str]:
        wanted = frozenset({want} if isinstance(want, str) else want) | {"energy"}
        if wanted <= self.supports:
            return wanted
        unknown = sorted(wanted - set(PROPERTIES))
        if unknown:
            raise InputError(f"unknown property {unknown}; known are {', '.join(PROPERTIES)}")
        unsupported = sorted(wanted - self.supports)
        if unsupported:
            raise UnsupportedError(
                f"{self.card.name} cannot give {', '.join(unsupported)}; it gives {', '.join(sorted(self.supports))}"
            )
        return wanted
