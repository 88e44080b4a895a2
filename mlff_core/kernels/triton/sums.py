"""Sums over the atoms of each system, with the same bits at every call."""

from __future__ import annotations

import torch
from torch import Tensor

from mlff_core.kernels.triton.jit import node as node_kernels
from mlff_core.kernels.triton.launch import launch

CHUNK = 1024
"""Number of atoms that one program sums."""


def sum_systems(values: Tensor, starts: Tensor, largest: int) -> Tensor:
    """Return the sum over each system, shape (n_systems, n_columns), float64, with the same bits at every call.

    Parameters
    ----------
    values
        Shape (n_atoms, n_columns), any unit.
    starts
        The first row of each system and the end of the last, shape (n_systems + 1,).
    largest
        Number of rows of the largest system, or a larger number.
    """
    n_columns = values.shape[1]
    n_systems, n_parts = len(starts) - 1, -(-largest // CHUNK)
    sums = torch.empty(n_systems, n_parts, n_columns, dtype=torch.float64, device=values.device)
    launch(
        node_kernels.sum_systems, (n_systems, n_parts, n_columns), values, starts, sums, n_columns,
        CHUNK=CHUNK, num_warps=4,
    )  # fmt: skip
    return sums.sum(dim=1)
