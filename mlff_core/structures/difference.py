"""Differences between two predictions of the same structures: how large, where, and whether a tolerance allows them."""

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

QUANTITIES = ("energy", "forces", "stress", "atom_energies", "charges")
"""The quantities that are compared, in this order."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of one quantity between two predictions.

    Parameters
    ----------
    quantity
        One of :data:`QUANTITIES`.
    largest
        The largest difference: eV/atom for ``"energy"``, eV for ``"atom_energies"``, e for ``"charges"``, eV/Å or
        eV/Å³ for one component of forces or stress; NaN if any difference is NaN.
    scale
        Factor by which a tolerance is multiplied.
    structure
        Number of the structure with the largest difference.
    atom
        Number of the atom in the batch, None for a quantity of the whole structure.
    component
        The component, such as ``"x"`` of a force and ``"xy"`` of a stress; empty for a scalar.
    found, wanted
        The two numbers there, eV, eV/Å, eV/Å³ or e.
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
        """The largest difference divided by the scale, to compare with :class:`~mlff_core.tolerance.Tolerance`."""
        return self.largest / self.scale

    @property
    def unit(self) -> str:
        """Unit of the largest difference."""
        return {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³", "atom_energies": "eV", "charges": "e"}[
            self.quantity
        ]

    def allowed(self, tolerance: Tolerance) -> float:
        """Return the largest difference that the tolerance allows, in the unit of the difference."""
        limits = {"forces": tolerance.forces, "stress": tolerance.stress, "charges": tolerance.of_charges}
        return self.scale * limits.get(self.quantity, tolerance.energy)

    def is_within(self, tolerance: Tolerance) -> bool:
        """Return whether the tolerance allows the difference; NaN is never allowed."""
        return self.largest <= self.allowed(tolerance)

    def explained(self, tolerance: Tolerance) -> str:
        """Return a sentence with the quantity, its two values, their difference and the allowed difference."""
        what, unit, digits = {
            "energy": (f"energy of structure {self.structure}", "eV", ".8f"),
            "forces": (f"force {self.component} on atom {self.atom}", "eV/Å", ".8f"),
            "stress": (f"stress {self.component} of structure {self.structure}", "eV/Å³", ".4e"),
            "atom_energies": (f"energy of atom {self.atom}", "eV", ".8f"),
            "charges": (f"charge of atom {self.atom}", "e", ".8f"),
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
        A quantity has different shapes in the two predictions.
    """
    for quantity in QUANTITIES:
        one, other = getattr(found, quantity), getattr(wanted, quantity)
        if one is not None and other is not None:
            yield _difference(quantity, one, other, batch)


def largest(values: Iterable[float]) -> float:
    """Return the largest of some non-negative numbers: 0 if there are none, NaN if one of them is NaN."""
    # max() alone can lose a NaN, because every comparison with NaN is false.
    values = list(values)
    return math.nan if any(math.isnan(value) for value in values) else max(values, default=0.0)


def force_scale(forces: Tensor) -> float:
    """Return the scale of a force tolerance, eV/Å: the largest of ``forces`` (n_atoms, 3), eV/Å, and at least 1."""
    return max(1.0, float(forces.abs().max())) if forces.numel() else 1.0


def stress_scale(stress: Tensor) -> float:
    """Return the factor on a tolerance for this ``stress`` (n_systems, 3, 3), eV/Å³: 1 up to 0.1 eV/Å³."""
    return max(1.0, float(stress.abs().max()) / 0.1) if stress.numel() else 1.0


def _difference(quantity: str, found: Tensor, wanted: Tensor, batch: AtomicBatch) -> Difference:
    if found.shape != wanted.shape:
        raise InputError(f"{quantity} has shape {tuple(found.shape)}, wanted {tuple(wanted.shape)}")
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    deviation = (found - wanted).abs()
    if quantity == "energy":
        deviation = deviation / torch.tensor(batch.atoms_per_system()).double()
    # NaN counts as the largest.
    place = tuple(int(k) for k in torch.unravel_index(deviation.argmax(), deviation.shape))
    is_of_atom = quantity in ("forces", "atom_energies", "charges")
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
    """Return the factor on a tolerance for the numbers ``wanted``, any shape, unit of the quantity."""
    if quantity == "forces":
        return force_scale(wanted)
    if quantity == "stress":
        return stress_scale(wanted)
    if quantity == "charges":
        return max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    # The energy of a single atom may deviate more than the mean over the atoms.
    return 10.0 if quantity == "atom_energies" else 1.0
