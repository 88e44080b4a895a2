"""The one interface behind which every model, teacher and exported file stands.

It is in one file because the checks that give every engine the same words belong beside the interface that makes them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import Protocol

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import OVERLAP as OVERLAP
from mlff_core.structures.neighbors import EdgeList, VerletNeighborList, edge_vectors, find_neighbors, overlap_error
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import volume

PROPERTIES = ("energy", "forces", "stress", "atom_energies", "energy_std", "forces_std")
"""Every name that ``want`` may hold."""

NUMPY_PAYS = 30_000
"""Numbers in a tensor below which NumPy sums them sooner than torch does."""


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


class Potential(ABC):
    """Energies, forces and stresses of structures; always batched, always eV and Å.

    A subclass sets ``card``, ``device``, ``dtype`` and ``supports`` and writes :meth:`_predict`; the checks that give
    every engine the same words for bad input are made here. A potential keeps no state from call to call.

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
    """

    card: ModelCard
    device: torch.device
    dtype: torch.dtype
    supports: frozenset[str] = frozenset({"energy", "forces"})
    uses_edges: bool = False
    selects_edges: bool = False

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
        if "stress" in wanted:
            check_has_volume(batch)
        if edges is not None:
            edges = edges.to(self.device, self.dtype)
        return self._predict(batch, wanted, edges)

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what :meth:`predict` gives, for a caller that has made its checks.

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
        return self._predict(batch, want, edges)

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
        edges = find_neighbors(batch, OVERLAP)
        check_distances(batch, edges, edge_vectors(batch, edges))

    @abstractmethod
    def _predict(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None) -> Prediction:
        """Return the properties in ``want`` of a batch that has passed the checks."""

    def stepper(self, batch: AtomicBatch, skin: float, before: Stepper | None) -> Stepper | None:
        """Return what is faster than :meth:`predict` for structures that move; None where there is no such thing.

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
            An element, charge or multiplicity that this potential cannot serve.
        """
        return None

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


class VerletPotential(Potential):
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
        self.potential = potential
        self.card = potential.card
        self.device = potential.device
        self.dtype = potential.dtype
        self.supports = potential.supports
        self.uses_edges = potential.uses_edges
        self.selects_edges = potential.selects_edges
        self.neighbors = VerletNeighborList(potential.card.cutoff, skin) if potential.uses_edges else None
        self.skin = skin
        self._stepper: Stepper | None = None
        self._checked_build = 0

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
        stepper = self._follow(batch)
        if stepper is not None:
            return _step(stepper, batch, self._check_rest(batch, want))
        edges = self.edges(batch)
        if self._checked_build == self.neighbors.n_builds:
            # The list has just found the atoms near where they were checked, the same ones in the same cell.
            return self.potential.predict_checked(batch, self._check_rest(batch, want), edges)
        prediction = self.potential.predict(batch, want=want, edges=edges)
        self._checked_build = self.neighbors.n_builds
        return prediction

    def _check_rest(self, batch: AtomicBatch, want: Iterable[str]) -> frozenset[str]:
        """Return what is wanted, after the checks that who follows the atoms does not make."""
        wanted = self._check_want(want)
        check_state(self.card, batch)
        if "stress" in wanted:
            check_has_volume(batch)
        return wanted

    def _follow(self, batch: AtomicBatch) -> Stepper | None:
        """Return the stepper of these structures, if the wrapped potential has one."""
        self._stepper = self.potential.stepper(batch, self.skin, self._stepper)
        return self._stepper

    def edges(self, batch: AtomicBatch) -> EdgeList | None:
        """Return the neighbours that the wrapped potential wants; None if it takes none."""
        if self.neighbors is None:
            return None
        return self.neighbors.candidates(batch) if self.potential.selects_edges else self.neighbors.edges(batch)

    def _predict(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None) -> Prediction:
        if edges is None:
            stepper = self._follow(batch)
            if stepper is not None:
                return _step(stepper, batch, want)
            edges = self.edges(batch)
        return self.potential._predict(batch, want, edges)

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


def check_elements(card: ModelCard, atomic_numbers: Iterable[int]) -> None:
    """Refuse elements the potential does not know.

    Raises
    ------
    UnsupportedError
        Names the elements that came and those that are known.
    """
    missing = sorted({int(z) for z in atomic_numbers}.difference(card.elements))
    if missing:
        names = ", ".join(chemical_symbols[z] if 0 < z < len(chemical_symbols) else str(z) for z in missing)
        raise UnsupportedError(
            f"{card.name} does not know {names}; it was made for {' '.join(card.symbols)}. "
            "Use a model made for these elements"
        )


def check_supported(card: ModelCard, batch: AtomicBatch) -> None:
    """Refuse elements, charges and multiplicities outside the card.

    Raises
    ------
    UnsupportedError
        Says what came and what the card allows.
    """
    numbers = batch.atomic_numbers
    # A set beats sorting on a CPU; from a GPU only the few different numbers are brought over.
    check_elements(card, set(numbers.tolist()) if numbers.device.type == "cpu" else torch.unique(numbers).tolist())
    check_state(card, batch)


def check_state(card: ModelCard, batch: AtomicBatch) -> None:
    """Refuse charges and multiplicities outside the card.

    Raises
    ------
    UnsupportedError
        Says what came and what the card allows.
    """
    if card.charges == "neutral" and batch.charge is not None and bool((batch.charge != 0).any()):
        worst = batch.charge[batch.charge != 0][0].item()
        raise UnsupportedError(
            f"{card.name} was made for neutral systems, but the total charge is {worst:+g} e; "
            "use a model that takes charges, or a neutral structure"
        )
    if (
        card.spin_multiplicities == "singlet"
        and batch.spin_multiplicity is not None
        and bool((batch.spin_multiplicity != 1).any())
    ):
        worst = batch.spin_multiplicity[batch.spin_multiplicity != 1][0].item()
        raise UnsupportedError(
            f"{card.name} was made for singlets, but the spin multiplicity is {worst}; "
            "use a model that takes other multiplicities, or a closed-shell structure"
        )


def check_finite(batch: AtomicBatch) -> None:
    """Refuse an empty batch, and NaN or infinity in positions or cell.

    Raises
    ------
    InputError
        Names the first atom.
    """
    # A sum is finite only if all it sums is, and costs a third of looking at each; validate_values looks closely.
    if batch.n_atoms == 0 or not math.isfinite(_sum(batch.positions) + _sum(batch.cell)):
        batch.validate_values()


def _sum(tensor: Tensor) -> float:
    # For the few numbers of a small system the call is what costs, and NumPy's is the cheaper one.
    if tensor.device.type == "cpu" and tensor.numel() < NUMPY_PAYS:
        return float(np.add.reduce(tensor.detach().numpy(), axis=None))
    return float(tensor.detach().sum())


def check_distances(batch: AtomicBatch, edges: EdgeList, vectors: Tensor) -> None:
    """Refuse overlapping atoms.

    Parameters
    ----------
    batch
        The structures.
    edges
        Their neighbours.
    vectors
        From centre to neighbour, shape (n_edges, 3), Å.

    Raises
    ------
    InputError
        Names the pair and its distance.
    """
    if edges.n_edges == 0:
        return
    squared = (vectors * vectors).sum(dim=1)
    if bool(squared.min() < OVERLAP**2):
        raise overlap_error(batch, edges, int(squared.argmin()))


def check_has_volume(batch: AtomicBatch) -> None:
    """Refuse a stress where there is no periodic cell.

    Raises
    ------
    InputError
        A structure has no periodic direction or a cell of no volume.
    """
    # Few numbers, so Python beats a tensor operation, whose call alone costs more.
    for cell, pbc in zip(batch.cell.tolist(), batch.pbc.tolist(), strict=True):
        if not any(pbc) or volume(cell) < 1e-6:
            raise InputError(
                "stress needs a periodic cell with a volume; this structure has none, so do not ask for it"
            )


def check_one_system(batch: AtomicBatch) -> None:
    """Refuse a batch of several structures.

    Raises
    ------
    InputError
        The batch does not hold exactly one structure.
    """
    if batch.n_systems != 1:
        raise InputError(f"one structure was wanted, got a batch of {batch.n_systems}; call it for each")
