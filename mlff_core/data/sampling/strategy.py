"""The interface of sampling strategies, and the parts that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import numpy as np

from mlff_core.data.structure import Array, LabelledStructure
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential

Structures = list[LabelledStructure]
"""Geometries made from one start."""

Ranges = tuple[tuple[str, str, float], ...]
"""Names of the lower and the upper end of each range, and the least value allowed."""

Limits = tuple[tuple[str, float, float], ...]
"""Names of settings with the least and the largest value allowed."""


@dataclass(frozen=True)
class SamplingContext:
    """Resources of a strategy beside the structure it starts from."""

    teacher: Potential | None = None
    """Gives forces and Hessians; None if geometries are made without a teacher."""
    partner: Callable[[np.random.Generator], LabelledStructure] | None = None
    """Returns a random other molecule, for dimers."""
    solvent: Callable[[np.random.Generator], LabelledStructure] | None = None
    """Returns a random solvent molecule, for clusters."""


@dataclass(frozen=True)
class Strategy(ABC):
    """A way to make geometries from a structure; its fields are its settings."""

    kind: ClassVar[str]
    """Name in the data set."""
    needs_teacher: ClassVar[bool] = False
    molecules: ClassVar[bool] = True
    """Whether it is used for structures without a periodic direction."""
    crystals: ClassVar[bool] = False
    """Whether it is used for periodic structures."""
    ranges: ClassVar[Ranges] = ()
    """Settings that are the ends of a range."""
    positive: ClassVar[tuple[str, ...]] = ()
    """Settings that must be above 0."""
    limits: ClassVar[Limits] = ()
    """Other limits of settings."""

    enabled: bool = True
    """Whether the strategy is used."""

    def __post_init__(self) -> None:
        if (n := getattr(self, "n", 1)) < 1:
            raise InputError(f"n must be at least 1, got {n}; to make none, set enabled = false")
        for low, high, least in self.ranges:
            check_range(low, high, getattr(self, low), getattr(self, high), least)
        for name in self.positive:
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name):g}")
        for name, least, most in self.limits:
            check_limits(name, getattr(self, name), least, most)

    def serves(self, start: LabelledStructure) -> bool:
        """Return whether the strategy can be used for this structure."""
        return self.crystals if start.is_periodic else self.molecules

    @abstractmethod
    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return geometries made from ``start``, a structure near a minimum; none if there is nothing to vary."""

    def sample_many(
        self, starts: Sequence[LabelledStructure], rngs: Sequence[np.random.Generator], context: SamplingContext
    ) -> list[Structures]:
        """Return the result of :meth:`sample` for each start; strategies with a teacher evaluate all starts at once."""
        return [self.sample(start, rng, context) for start, rng in zip(starts, rngs, strict=True)]


@dataclass(frozen=True)
class Displacement(Strategy):
    """A strategy whose geometries are independent displacements of the start."""

    n: int = 1
    """Geometries for each start."""

    @abstractmethod
    def displaced(
        self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext
    ) -> Callable[[], Array] | None:
        """Return a function that draws positions, shape (n_atoms, 3), Å; None if there is nothing to vary."""

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` geometries; none if there is nothing to vary."""
        draw = self.displaced(start, rng, context)
        return [] if draw is None else [at(start, draw(), self.kind) for _ in range(self.n)]


def at(start: LabelledStructure, positions: Array, kind: str, cell: Array | None = None) -> LabelledStructure:
    """Return the structure at other positions, without labels.

    Parameters
    ----------
    start
        The structure.
    positions
        Shape (n_atoms, 3), Å; rounded to float32, as in the data set.
    kind
        How the positions were made.
    cell
        Shape (3, 3), Å; None keeps the cell.
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
        charges=None,
        dipole=None,
        hessian_direction=None,
        hessian_product=None,
    )


def check_range(low_name: str, high_name: str, low: float, high: float, least: float) -> None:
    """Raise ``InputError`` unless ``least`` ≤ ``low`` ≤ ``high``."""
    if not least <= low <= high:
        raise InputError(f"{low_name} and {high_name} must satisfy {least:g} ≤ min ≤ max, got {low:g} and {high:g}")


def check_limits(name: str, value: float, least: float, most: float = inf) -> None:
    """Raise ``InputError`` unless a setting lies between ``least`` and ``most``, both allowed."""
    if not least <= value <= most:
        wanted = f"be at least {least:g}" if most == inf else f"lie between {least:g} and {most:g}"
        raise InputError(f"{name} must {wanted}, got {value:g}")


def check_strain(strain: float) -> None:
    """Raise ``InputError`` unless the standard deviation of a deformation lies between 0 and 0.3."""
    if not 0 <= strain < 0.3:
        raise InputError(f"strain must lie in 0…0.3, got {strain:g}")
