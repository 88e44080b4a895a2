"""Finding and reading the rows of a data set's Hessians."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.data.hessian_rows import HessianRows
from mlff_core.data.ragged import read_rows
from mlff_core.data.structure import Array


class HessianTable:
    """The rows of the group ``hessian`` by their structures; a file may hold them in any order.

    Parameters
    ----------
    group
        The HDF5 group.
    n_structures
        Number of structures in the data set.
    """

    def __init__(self, group: Any, n_structures: int) -> None:
        structure = group["structure"][:].astype(np.int64)
        self._order = np.argsort(structure, kind="stable")
        self._first = np.searchsorted(structure[self._order], np.arange(n_structures + 1))
        self._offsets: npt.NDArray[np.int64] = group["offsets"][:].astype(np.int64)

    @property
    def rows_per_structure(self) -> npt.NDArray[np.int64]:
        """Number of rows of each structure, shape (n_structures,)."""
        return np.diff(self._first)

    def read(self, group: Any, wanted: npt.NDArray[np.int64], dtype: torch.dtype) -> HessianRows:
        """Return the rows of some structures; ``system`` is an index into these.

        Parameters
        ----------
        group
            The HDF5 group, as this process has it open.
        wanted
            Indices of the structures, shape (n_systems,).
        dtype
            Type of directions and products.
        """
        counts = self._first[wanted + 1] - self._first[wanted]
        row = np.arange(int(counts.sum())) + np.repeat(self._first[wanted] - (np.cumsum(counts) - counts), counts)

        def atoms(name: str) -> torch.Tensor:
            if len(row) == 0:
                return torch.empty(0, 3, dtype=dtype)
            return torch.from_numpy(read_rows(group[name], self._order[row], self._offsets)).to(dtype)

        system = np.repeat(np.arange(len(wanted)), counts)
        return HessianRows(torch.from_numpy(system), atoms("direction"), atoms("product"))

    def of_structure(self, group: Any, k: int) -> dict[str, Array]:
        """Return ``hessian_direction`` and ``hessian_product`` of structure k, (n_rows, n_atoms, 3), or no entry."""
        rows = self.read(group, np.array([k]), torch.float32)
        if len(rows.system) == 0:
            return {}
        shape = (len(rows.system), -1, 3)
        return {
            "hessian_direction": rows.direction.numpy().reshape(shape),
            "hessian_product": rows.product.numpy().reshape(shape),
        }
