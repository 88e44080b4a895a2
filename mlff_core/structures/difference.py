"""How far apart two predictions of the same structures are, where, and whether a tolerance allows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mlff_core.errors import InputError
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.prediction import Prediction
from mlff_core.tolerance import Tolerance

QUANTITIES = ("energy", "forces", "stress", "atom_energies")
"""What is compared, in this order."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of one quantity between two predictions.

    Parameters
    ----------
    quantity
        One of :data:`QUANTITIES`.
    largest
        eV/atom for ``"energy"``, eV for ``"atom_energies"``, eV/Å or eV/Å³ of one component; NaN if any is NaN.
    scale
        What a tolerance is multiplied by.
    structure
        Number of the structure where it is largest.
    atom
        Number of the atom in the batch, None for a quantity of the whole structure.
    component
        Such as ``"x"`` of a force and ``"xy"`` of a stress; empty for a scalar.
    found, wanted
        The two numbers there: eV, eV/Å or eV/Å³.
    """

    quantity: str
    largest: float
    scale: float
    structure: int
    atom: int | None
    component: str
    found: float
    wanted: float

    @property
    def scaled(self) -> float:
        """The largest difference over the scale: what a number of :class:`~mlff_core.tolerance.Tolerance` limits."""
        return self.largest / self.scale

    @property
    def unit(self) -> str:
        """Unit of the largest difference."""
        return {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³", "atom_energies": "eV"}[self.quantity]

    def allowed(self, tolerance: Tolerance) -> float:
        """Return how large the difference may be, in its unit."""
        limits = {"forces": tolerance.forces, "stress": tolerance.stress}
        return self.scale * limits.get(self.quantity, tolerance.energy)

    def is_within(self, tolerance: Tolerance) -> bool:
        """Return whether the tolerance allows the difference; NaN never is."""
        return self.largest <= self.allowed(tolerance)

    def explained(self, tolerance: Tolerance) -> str:
        """Return a sentence: which number it is, what it should be, by how much it is off, what is allowed."""
        what, unit, digits = {
            "energy": (f"energy of structure {self.structure}", "eV", ".8f"),
            "forces": (f"force {self.component} on atom {self.atom}", "eV/Å", ".8f"),
            "stress": (f"stress {self.component} of structure {self.structure}", "eV/Å³", ".4e"),
            "atom_energies": (f"energy of atom {self.atom}", "eV", ".8f"),
        }[self.quantity]
        return (
            f"{what} is {self.found:{digits}} {unit}, wanted {self.wanted:{digits}} {unit}; "
            f"off by {self.largest:.2e} {self.unit}, at most {self.allowed(tolerance):.1e} is allowed"
        )


def differences(found: Prediction, wanted: Prediction, batch: AtomicBatch) -> Iterator[Difference]:
    """Yield the difference of each quantity that both predictions of ``batch`` hold, in double precision on the CPU.

    Raises
    ------
    InputError
        A quantity has another shape in one than in the other.
    """
    for quantity in QUANTITIES:
        one, other = getattr(found, quantity), getattr(wanted, quantity)
        if one is not None and other is not None:
            yield _difference(quantity, one, other, batch)


def largest(values: Iterable[float]) -> float:
    """Return the largest of some numbers that are not negative, 0 if there are none, NaN if one is NaN."""
    # max() alone loses a NaN, with which every comparison is false.
    values = list(values)
    return math.nan if any(math.isnan(value) for value in values) else max(values, default=0.0)


def force_scale(forces: Tensor) -> float:
    """Return what a force tolerance is relative to, eV/Å: the largest of ``forces`` (n_atoms, 3), eV/Å, at least 1."""
    return max(1.0, float(forces.abs().max())) if forces.numel() else 1.0


def stress_scale(stress: Tensor) -> float:
    """Return by how much a tolerance grows for this ``stress`` (n_systems, 3, 3), eV/Å³: 1 up to 0.05 eV/Å³."""
    return max(1.0, float(stress.abs().max()) / 0.05) if stress.numel() else 1.0


def _difference(quantity: str, found: Tensor, wanted: Tensor, batch: AtomicBatch) -> Difference:
    if found.shape != wanted.shape:
        raise InputError(f"{quantity} has shape {tuple(found.shape)}, wanted {tuple(wanted.shape)}")
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    deviation = (found - wanted).abs()
    if quantity == "energy":
        deviation = deviation / torch.tensor(batch.atoms_per_system()).double()
    # NaN counts as the largest.
    place = tuple(int(k) for k in torch.unravel_index(deviation.argmax(), deviation.shape))
    is_of_atom = quantity in ("forces", "atom_energies")
    return Difference(
        quantity,
        largest=float(deviation[place]),
        scale=_scale(quantity, wanted),
        structure=int(batch.system_idx[place[0]]) if is_of_atom else place[0],
        atom=place[0] if is_of_atom else None,
        component="".join("xyz"[axis] for axis in place[1:]),
        found=float(found[place]),
        wanted=float(wanted[place]),
    )


def _scale(quantity: str, wanted: Tensor) -> float:
    """Return what a tolerance is multiplied by for these numbers: ``wanted``, any shape, unit of the quantity."""
    if quantity == "forces":
        return force_scale(wanted)
    if quantity == "stress":
        return stress_scale(wanted)
    # A single atom's energy may be off by a little more than the mean over the atoms.
    return 10.0 if quantity == "atom_energies" else 1.0
