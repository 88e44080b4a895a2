"""Checks of a potential's input: every potential and engine refuses bad input with the same message."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from ase.data import chemical_symbols
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.batch import AtomicBatch, single
from mlff_core.structures.electrons import odd_system
from mlff_core.structures.far import is_near
from mlff_core.structures.neighbors import OVERLAP, EdgeList, overlap_error
from mlff_core.structures.stress import volume


def check_elements(card: ModelCard, atomic_numbers: Iterable[int]) -> None:
    """Refuse elements the potential does not know.

    Raises
    ------
    UnsupportedError
        An element is not known; the message names it and the known elements.
    """
    missing = sorted({int(z) for z in atomic_numbers}.difference(card.elements))
    if missing:
        names = ", ".join(chemical_symbols[z] if 0 < z < len(chemical_symbols) else str(z) for z in missing)
        raise UnsupportedError(
            f"{card.name} does not know {names}; it was made for {' '.join(card.symbols)}. "
            "Use a model made for these elements"
        )


def check_supported(card: ModelCard, batch: AtomicBatch) -> None:
    """Refuse elements, charges, multiplicities and numbers of electrons outside the card.

    Raises
    ------
    InputError
        A charge is not a whole number.
    UnsupportedError
        The card does not allow an element, the charge or the multiplicity; the message states what it allows.
    """
    numbers = batch.atomic_numbers
    # A set is faster than sorting on a CPU; from a GPU only the few distinct numbers are copied.
    check_elements(card, set(numbers.tolist()) if numbers.device.type == "cpu" else torch.unique(numbers).tolist())
    check_state(card, batch)
    check_electrons(card, batch)


def check_state(card: ModelCard, batch: AtomicBatch) -> None:
    """Refuse charges and multiplicities that the card does not list.

    Raises
    ------
    InputError
        A charge is not a whole number.
    UnsupportedError
        The card does not allow the charge or the multiplicity; the message states what it allows.
    """
    if batch.charge is not None:
        _check_charge(card, batch.charge)
    if (
        card.spin_multiplicities != "any"
        and batch.spin_multiplicity is not None
        and bool((batch.spin_multiplicity != 1).any())
    ):
        raise multiplicity_error(card, int(batch.spin_multiplicity[batch.spin_multiplicity != 1][0]))


def _check_charge(card: ModelCard, charge: Tensor) -> None:
    """Refuse charges, shape (n_systems,), e, outside the card."""
    neutral = card.charges == "neutral"
    bad = charge != (0 if neutral else charge.round())
    if not bool(bad.any()):
        return
    worst = charge[bad][0].item()
    if worst != round(worst):
        raise InputError(f"the total charge must be a whole number of e, got {worst:g}; correct it")
    raise UnsupportedError(
        f"{card.name} was made for neutral systems, but the total charge is {worst:+g} e; "
        "use a model that takes charges, or a neutral structure"
    )


def multiplicity_error(card: ModelCard, multiplicity: int) -> UnsupportedError:
    """Return the error for a spin multiplicity, 2S + 1, that a card does not allow."""
    return UnsupportedError(
        f"{card.name} was made for singlets, but the spin multiplicity is {multiplicity}; "
        "use a model that takes other multiplicities, or a closed-shell structure"
    )


def check_electrons(card: ModelCard, batch: AtomicBatch) -> None:
    """Refuse a structure with an odd number of electrons if the card allows closed shells only.

    Raises
    ------
    UnsupportedError
        The message gives the number of electrons, the charge, and what to do.
    """
    if card.spin_multiplicities == "closed shell" and (odd := odd_system(batch)) is not None:
        k, n_electrons, charge = odd
        which = "" if batch.n_systems == 1 else f"structure {k} of the batch: "
        raise UnsupportedError(which + odd_electrons(card, n_electrons, charge))


def check_atoms(
    card: ModelCard, atomic_numbers: Iterable[int], charge: float | None, spin_multiplicity: int | None
) -> None:
    """Refuse what :func:`check_supported` refuses, for an engine that knows its atoms before it has positions.

    Raises
    ------
    InputError
        A charge is not a whole number, or a multiplicity is below 1.
    UnsupportedError
        The message says what came and what the card allows.
    """
    numbers = list(atomic_numbers)
    check_supported(
        card, single(np.zeros((len(numbers), 3)), numbers, charge=charge, spin_multiplicity=spin_multiplicity)
    )


def odd_electrons(card: ModelCard, n_electrons: int, charge: int) -> str:
    """Return the message about an odd number of electrons; exported modules use the same one."""
    return (
        f"{card.name} was made for closed shells, but at a total charge of {charge:+d} e the structure has "
        f"{n_electrons} electrons, an odd number; {ODD_ADVICE}"
    )


ODD_ADVICE = (
    "check that no atom is missing and that the charge is right (atoms.info['charge'], or the engine's own option), "
    "or use a model that takes open shells"
)
"""What to do about an odd number of electrons."""


def check_finite(batch: AtomicBatch) -> None:
    """Refuse an empty batch, NaN or infinity in positions or cell, and atoms far from the origin.

    Raises
    ------
    InputError
        The batch is empty, a number is not finite, or an atom is so far away that its precision does not resolve
        distances; the message names the first such atom.
    """
    # A sum of squares is finite only if all its summands are, and costs a third of checking each; validate_values
    # checks each.
    if batch.n_atoms == 0 or not is_near(batch.positions, _squares(batch.positions) + _squares(batch.cell)):
        batch.validate_values()


def check_results(card: ModelCard, energy: float, *others: npt.NDArray[np.float64]) -> None:
    """Refuse a prediction that contains NaN or infinity.

    Parameters
    ----------
    card
        Of the potential.
    energy
        Of one structure, eV.
    others
        Its forces, eV/Å, and stress, eV/Å³, of any shape.

    Raises
    ------
    InputError
        The message says whether the energy or a force or stress is not finite.
    """
    # A sum is finite only if all its terms are.
    if math.isfinite(energy + sum(float(np.add.reduce(values, axis=None)) for values in others)):
        return
    if math.isfinite(energy) and all(np.isfinite(values).all() for values in others):
        return
    what = "a force or stress" if math.isfinite(energy) else "an energy"
    raise InputError(
        f"{card.name} gave {what} that is not a finite number; check for atoms far too close or too far apart, and "
        "try another model: its weights may be too large"
    )


def _squares(tensor: Tensor) -> float:
    """Return the sum of squares of a tensor's entries."""
    flat = tensor.detach().reshape(-1)
    return float(flat.dot(flat))


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
        Two atoms overlap; the message names them and their distance.
    """
    if edges.n_edges == 0:
        return
    squared = (vectors * vectors).sum(dim=1)
    if bool(squared.min() < OVERLAP**2):
        raise overlap_error(batch, edges, int(squared.argmin()))


def check_has_volume(batch: AtomicBatch) -> None:
    """Refuse to compute the stress of a structure without a periodic cell.

    Raises
    ------
    InputError
        A structure has no periodic direction, or its cell has no volume.
    """
    # For so few numbers plain Python is faster than one call of a tensor operation.
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
