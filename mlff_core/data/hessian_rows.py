"""Rows of Hessians as labels; :mod:`mlff_core.data.hessian` computes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class HessianRows:
    """Rows of the Hessians of some structures."""

    system: Tensor
    """The structure of each row, shape (n_rows,), int64."""
    direction: Tensor
    """Directions v, the atoms of row 0 first, shape (n_row_atoms, 3)."""
    product: Tensor
    """Products H·v, shape (n_row_atoms, 3), eV/Å²."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> HessianRows:
        """Return the rows on another device or in another precision."""
        return HessianRows(
            self.system.to(device=device),
            self.direction.to(device=device, dtype=dtype),
            self.product.to(device=device, dtype=dtype),
        )
