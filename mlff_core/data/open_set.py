"""The interface of an open data set file that the checks use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from mlff_core.data.structure import Array

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlff_core.data.hessian_rows import HessianRows

Indices = npt.NDArray[np.int64]


class OpenSet(Protocol):
    """An open data set file to check, such as :class:`mlff_core.data.reader.Dataset`."""

    path: Path

    def __len__(self) -> int: ...

    @property
    def offsets(self) -> Array:
        """Index of the first atom of each structure, and the number of atoms at the end, shape (n_structures + 1,)."""

    @property
    def split(self) -> Array | None:
        """The split of each structure, shape (n_structures,)."""

    @property
    def molecule_id(self) -> Array:
        """The molecule of each structure, shape (n_structures,)."""

    def has(self, name: str) -> bool:
        """Return whether the file has a column."""

    def n_atoms_of(self, indices: Indices) -> Indices:
        """Return the number of atoms of each structure, shape (n_structures,)."""

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield ranges (start, stop) of structures that fit into memory."""

    def column(self, name: str, start: int, stop: int) -> Array:
        """Return rows of a column, shape (n, …), in the layout's unit."""

    def hessian_rows(self, indices: Indices) -> HessianRows:
        """Return checked rows of Hessians."""
