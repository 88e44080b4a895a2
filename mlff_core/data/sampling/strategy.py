"""What every way of making geometries has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mlff_core.data.structure import Array, LabelledStructure
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential

Structures = list[LabelledStructure]
"""What a strategy makes of one start."""

Ranges = tuple[tuple[str, str, float], ...]
"""Names of a lower and an upper end, and the least that either may be."""


@dataclass(frozen=True)
class SamplingContext:
    """What a strategy may need beside the structure it starts from.

    Parameters
    ----------
    teacher
        Gives forces and Hessians; None where geometries are made without a teacher.
    partner
        Returns a random other molecule, for dimers.
    solvent
        Returns a random solvent molecule, for clusters.
    """

    teacher: Potential | None = None
    partner: Callable[[np.random.Generator], LabelledStructure] | None = None
    solvent: Callable[[np.random.Generator], LabelledStructure] | None = None


@dataclass(frozen=True)
class Strategy(ABC):
    """A way to make geometries from a structure; its fields are its settings.

    Parameters
    ----------
    enabled
        Whether it is used.
    """

    kind: ClassVar[str]
    """Name in the data set."""
    needs_teacher: ClassVar[bool] = False
    molecules: ClassVar[bool] = True
    """Serves structures without a periodic direction."""
    crystals: ClassVar[bool] = False
    """Serves periodic structures."""
    ranges: ClassVar[Ranges] = ()
    """Which settings are the ends of a range."""

    enabled: bool = True

    def __post_init__(self) -> None:
        if (n := getattr(self, "n", None)) is not None:
            check_count(n)
        for low, high, least in self.ranges:
            check_range(low, high, getattr(self, low), getattr(self, high), least)

    def serves(self, start: LabelledStructure) -> bool:
        """Return whether the strategy has a meaning for this structure."""
        return self.crystals if start.is_periodic else self.molecules

    @abstractmethod
    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return geometries made from ``start``, a structure near a minimum; none where there is nothing to vary."""

    def sample_many(
        self, starts: Sequence[LabelledStructure], rngs: Sequence[np.random.Generator], context: SamplingContext
    ) -> list[Structures]:
        """Return what :meth:`sample` gives for each start; strategies that ask a teacher ask for all at once."""
        return [self.sample(start, rng, context) for start, rng in zip(starts, rngs, strict=True)]


def at(start: LabelledStructure, positions: Array, kind: str, cell: Array | None = None) -> LabelledStructure:
    """Return the structure at other positions, its labels gone.

    Parameters
    ----------
    start
        The structure.
    positions
        Shape (n_atoms, 3), Å; rounded to float32, as the data set keeps them.
    kind
        How they were made.
    cell
        Shape (3, 3), Å, where it changes.
    """
    return replace(
        start,
        positions=np.asarray(positions, dtype=np.float32),
        kind=kind,
        cell=start.cell if cell is None else cell,
        energy=None,
        forces=None,
        stress=None,
        atom_energies=None,
        hessian_direction=None,
        hessian_product=None,
    )


def check_range(low_name: str, high_name: str, low: float, high: float, least: float) -> None:
    """Refuse a pair of settings that is no range.

    Raises
    ------
    InputError
        ``low`` is above ``high``, or below ``least``.
    """
    if not least <= low <= high:
        raise InputError(f"{low_name} and {high_name} must satisfy {least:g} ≤ min ≤ max, got {low:g} and {high:g}")


def check_count(n: int) -> None:
    """Refuse a number of geometries below one.

    Raises
    ------
    InputError
        ``n`` is not positive.
    """
    if n < 1:
        raise InputError(f"n must be at least 1, got {n}; to make none, set enabled = false")


def check_share(name: str, value: float) -> None:
    """Refuse a share outside 0 to 1.

    Raises
    ------
    InputError
        The value lies outside.
    """
    if not 0 <= value <= 1:
        raise InputError(f"{name} must lie between 0 and 1, got {value:g}")
