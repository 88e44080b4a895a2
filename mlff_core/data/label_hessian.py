"""Rows of Hessians from a teacher: finite differences of its forces, many displaced copies at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mlff_core.data.hessian import LARGEST_DISPLACEMENT, directions
from mlff_core.data.structure import Array, LabelledStructure, batch_from_structures, packed_by_atoms
from mlff_core.potentials.interface import Potential


def with_hessian_rows(
    teacher: Potential, structures: Sequence[LabelledStructure], n_rows: int, kind: str, batch_atoms: int
) -> list[LabelledStructure]:
    """Return labelled structures with rows of their Hessians, from forces on copies moved forwards and backwards.

    Parameters
    ----------
    teacher
        Gives forces.
    structures
        Labelled, of any sizes; all with a cell or all without.
    n_rows, kind
        Number of rows of each structure, and the kind of directions: see :func:`mlff_core.data.hessian.directions`.
    batch_atoms
        Atoms evaluated by the teacher at once.

    Raises
    ------
    UnsupportedError
        The teacher gives no forces.
    """
    moves = [directions(structure, n_rows, kind) for structure in structures]
    lengths = [LARGEST_DISPLACEMENT / np.abs(rows).max(axis=(1, 2), keepdims=True) for rows in moves]
    copies = [
        replace(structure, positions=structure.positions.astype(np.float64) + move)
        for structure, rows, length in zip(structures, moves, lengths, strict=True)
        for move in np.concatenate([length * rows, -length * rows])
    ]
    forces: list[Array] = []
    for indices in packed_by_atoms(copies, batch_atoms):
        batch = batch_from_structures([copies[k] for k in indices], dtype=torch.float64)
        found_forces = teacher.predict(batch, want=["energy", "forces"]).need("forces", teacher.card.name)
        bounds = np.cumsum([copies[k].n_atoms for k in indices])[:-1]
        forces += np.split(found_forces.detach().cpu().double().numpy(), bounds)
    found = []
    for k, structure in enumerate(structures):
        forth, back = np.split(np.stack(forces[2 * n_rows * k : 2 * n_rows * (k + 1)]), 2)
        product = ((back - forth) / (2.0 * lengths[k])).astype(np.float32)
        found.append(replace(structure, hessian_direction=moves[k], hessian_product=product))
    return found
