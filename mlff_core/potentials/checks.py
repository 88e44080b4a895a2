"""Checks of what a potential is given: every potential and engine refuses bad input with the same message."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.arrays import FARTHEST
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import OVERLAP, EdgeList, overlap_error
from mlff_core.structures.stress import volume

NUMPY_PAYS = 30_000
"""Numbers in a tensor below which NumPy sums them sooner than torch does."""


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
    if batch.n_atoms == 0 or not abs(_sum(batch.positions) + _sum(batch.cell)) < FARTHEST:
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
