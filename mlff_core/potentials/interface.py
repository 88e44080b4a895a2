"""The interface of every potential: trained models, teachers and exported files."""

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
from mlff_core.structures.dipole import check_not_periodic
from mlff_core.structures.neighbors import OVERLAP, EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction

PROPERTIES = ("energy", "forces", "stress", "atom_energies", "energy_std", "forces_std", "charges", "dipole")
"""Every name that ``want`` may hold."""

CHARGES = frozenset({"charges", "dipole"})
"""The properties that are, or are computed from, charges of atoms."""

DEVIATIONS = frozenset({"energy_std", "forces_std"})
"""The properties that are uncertainties of a prediction."""


class Potential(ABC):
    """Energies, forces and stresses of structures; always batched, always eV and Å.

    A subclass sets ``card``, ``device``, ``dtype`` and ``supports`` and implements :meth:`predict_checked`. Input is
    checked in :meth:`predict`, so that bad input is refused with the same message everywhere. A potential keeps no
    state.

    Attributes
    ----------
    card
        Elements, cutoff, lineage.
    device, dtype
        Where and in which precision it computes; batches are moved there.
    supports
        The properties it can compute, from :data:`PROPERTIES`.
    uses_edges
        True if it takes a neighbour list, so that a caller may keep one with a skin.
    selects_edges
        True if edges beyond the cutoff cost it almost nothing, so that the caller need not remove them.
    has_stepper
        True if :meth:`stepper` returns something faster than :meth:`predict` for structures that move.
    guard
        Guard that warns of structures unlike the training data; None if there is none.
    takes_field
        True if :meth:`predict_in_field` works.
    members
        The potentials of a committee; empty for a single model.
    """

    card: ModelCard
    device: torch.device
    dtype: torch.dtype
    supports: frozenset[str] = frozenset({"energy", "forces"})
    uses_edges: bool = False
    selects_edges: bool = False
    has_stepper: bool = False
    takes_field: bool = False
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
            Structures; moved to the potential's device and precision.
        want
            Names from :data:`PROPERTIES`; ``"energy"`` is always returned.
        edges
            Neighbours of the batch within the cutoff, if the caller has them; None searches them.

        Raises
        ------
        InputError
            A property is unknown, positions are not finite, atoms overlap, or a structure without a cell has no stress
            or a periodic one no dipole.
        UnsupportedError
            This potential does not support an element, the charge, the multiplicity or a property.
        """
        wanted = self._check_want(want)
        batch = self._accepted(batch)
        if "stress" in wanted:
            check_has_volume(batch)
        if "dipole" in wanted:
            check_not_periodic(batch)
        if edges is not None:
            edges = edges.to(self.device, self.dtype)
        return self.predict_checked(batch, wanted, edges)

    @abstractmethod
    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return the same as :meth:`predict`, for a caller that has made its checks; implemented by each subclass.

        In a run the atoms, charges and wanted properties are those of the first step. For a small system, checking
        them again at each step would cost more than the whole protocol of a client.

        Parameters
        ----------
        batch
            Structures on the potential's device and in its precision; finite, with a volume where stress is wanted, and
            with atoms that :meth:`check` has accepted.
        want
            Names that the potential supports, ``"energy"`` among them.
        edges
            As in :meth:`predict`.

        Raises
        ------
        InputError
            Atoms overlap.
        """

    def _accepted(self, batch: AtomicBatch) -> AtomicBatch:
        """Return the structures on the potential's device and in its precision, after a check of them."""
        batch = batch.to(self.device, self.dtype)
        check_finite(batch)
        check_supported(self.card, batch)
        if self.guard is not None:
            self.guard.look_at_atoms(batch)
        return batch

    def predict_in_field(self, batch: AtomicBatch, potentials: Tensor, edges: EdgeList | None = None) -> Prediction:
        """Return energies E + Σ_i φ_i q_i, their forces at constant φ, and the charges q, if the potential has them.

        So a caller whose φ comes from positions of its own has the whole force on each atom by adding −q_i ∇φ_i.

        Parameters
        ----------
        batch, edges
            As in :meth:`predict`.
        potentials
            Outer electrostatic potential φ at each atom, shape (n_atoms,), eV/e.

        Raises
        ------
        InputError
            As :meth:`predict`.
        UnsupportedError
            As :meth:`predict`; or this potential has no charges that a field could act on.
        """
        check_takes_field(self)
        batch = self._accepted(batch)
        if edges is not None:
            edges = edges.to(self.device, self.dtype)
        return self.field_checked(batch, potentials.to(self.device), edges)

    def field_checked(self, batch: AtomicBatch, potentials: Tensor, edges: EdgeList | None = None) -> Prediction:
        """Return the same as :meth:`predict_in_field`, for a caller that has made its checks.

        Parameters
        ----------
        batch, edges
            As in :meth:`predict_checked`.
        potentials
            φ, shape (n_atoms,), eV/e, on the potential's device.

        Raises
        ------
        UnsupportedError
            This potential is not made for fields.
        """
        raise UnsupportedError(f"{self.card.name} cannot be put into a field; use a student with charges")

    def check(self, batch: AtomicBatch) -> None:
        """Refuse what :meth:`predict` would refuse, without computing anything; engines call it when they are bound.

        Raises
        ------
        InputError
            There are no atoms, positions or a cell are not finite, numbers are out of range, or atoms overlap.
        UnsupportedError
            This potential does not support an element, the charge or the multiplicity.
        """
        batch.validate_values()
        check_supported(self.card, batch)
        if self.guard is not None:
            self.guard.look_at_atoms(batch)
        edges = find_neighbors(batch, OVERLAP)
        check_distances(batch, edges, edge_vectors(batch, edges))

    def stepper(self, batch: AtomicBatch, skin: float, before: Stepper | None) -> Stepper:
        """Return a stepper, which is faster than :meth:`predict` for structures that move, if the potential has one.

        Parameters
        ----------
        batch
            The structures, on the potential's device and in its precision.
        skin
            Extra reach of its neighbour search, Å.
        before
            The stepper that was returned for the last batch; it is returned again while it is still valid.

        Raises
        ------
        InputError
            There are no atoms, or positions or a cell are not finite.
        UnsupportedError
            There is no stepper (``has_stepper`` is False), or it does not support an element, the charge or the
            multiplicity.
        """
        raise UnsupportedError(f"{self.card.name} has no stepper; call predict")

    def hessian(self, batch: AtomicBatch) -> Tensor:
        """Return the second derivatives of the energy of one structure, shape (3·n_atoms, 3·n_atoms), eV/Å².

        Central differences of the forces (step 0.01 Å in float32, 0.001 Å in float64), made symmetric. Potentials that
        can differentiate themselves override this with exact derivatives.

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


def check_takes_field(potential: Potential) -> None:
    """Refuse a potential on which no outer electrostatic potential can act.

    Raises
    ------
    UnsupportedError
        It has no charges, or it is not a student.
    """
    if potential.takes_field:
        return
    if "charges" not in potential.supports:
        raise UnsupportedError(
            f"{potential.card.name} gives no charges of atoms, on which an outer field could act; fit them to it with "
            "`mlff charges fit`, or take a student that has them"
        )
    raise UnsupportedError(
        f"{potential.card.name} gives no derivatives of its charges, so it cannot be put into a field; take a student "
        "with charges"
    )
