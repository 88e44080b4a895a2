"""Rows of a Hessian: products of the energy's second derivatives with a direction, by finite differences of forces.

H·v = −[F(x + t v) − F(x − t v)] / 2t. The step t is the same for the teacher and for a student, so that
the error of the finite difference is the same on both sides and cancels between them.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from mlff_core.data.hessian_rows import HessianRows
from mlff_core.data.structure import Array, LabelledStructure
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList

LARGEST_DISPLACEMENT = 0.01
"""Largest change of a coordinate in the finite difference, Å: ten thousand times the rounding of a float32 position."""

DIRECTIONS = ("random", "coordinate")
"""Unit vectors over all coordinates of a structure, uniformly distributed; or one coordinate of one atom."""


def directions(structure: LabelledStructure, n_rows: int, kind: str, seed: int = 0) -> Array:
    """Return directions for a structure, shape (n_rows, n_atoms, 3); the same for the same positions and seed.

    Parameters
    ----------
    structure
        The structure.
    n_rows
        How many.
    kind
        One of :data:`DIRECTIONS`.
    seed
        Seed of the random numbers.
    """
    positions = np.ascontiguousarray(structure.positions, dtype=np.float32)
    rng = np.random.default_rng((seed, zlib.crc32(positions.tobytes())))
    size = 3 * structure.n_atoms
    if kind == "coordinate":
        found = np.zeros((n_rows, size))
        # Each coordinate at most once, as long as there are enough.
        chosen = np.concatenate([rng.permutation(size) for _ in range(-(-n_rows // size))])[:n_rows]
        found[np.arange(n_rows), chosen] = 1.0
    else:
        found = rng.standard_normal((n_rows, size))
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.reshape(n_rows, structure.n_atoms, 3).astype(np.float32)


def displaced_copies(batch: AtomicBatch, edges: EdgeList, rows: HessianRows) -> tuple[AtomicBatch, EdgeList]:
    """Return a batch with its edges, followed by each row's structure moved forwards, then by each moved backwards.

    Copies have the edges of their original: a pair that comes within the cutoff by a hundredth of an ångström has
    no force yet.

    Parameters
    ----------
    batch, edges
        The structures.
    rows
        Rows whose ``system`` is an index into the structures of the batch.
    """
    n_atoms, n_systems, n_rows = batch.n_atoms, batch.n_systems, len(rows.system)
    owner = batch.system_idx
    atom, row = _members(owner, rows.system, n_systems)
    edge, edge_row = _members(owner[edges.centers], rows.system, n_systems)
    # Where the atoms of a row begin among the copies, and where those of its structure begin in the batch.
    counts = torch.bincount(row, minlength=n_rows)
    sizes = torch.bincount(owner, minlength=n_systems)
    shift = (counts.cumsum(0) - counts) - (sizes.cumsum(0) - sizes)[rows.system]
    centers, neighbors = (ends[edge] + shift[edge_row] for ends in (edges.centers, edges.neighbors))
    moves = step_lengths(rows, row)[row, None] * rows.direction
    place = batch.positions[atom]
    source = torch.cat([torch.arange(n_systems, device=owner.device), rows.system, rows.system])
    copies = AtomicBatch(
        torch.cat([batch.positions, place + moves, place - moves]),
        torch.cat([batch.atomic_numbers, batch.atomic_numbers[atom], batch.atomic_numbers[atom]]),
        batch.cell[source],
        batch.pbc[source],
        torch.cat([owner, n_systems + row, n_systems + n_rows + row]),
        None if batch.charge is None else batch.charge[source],
        None if batch.spin_multiplicity is None else batch.spin_multiplicity[source],
    )
    first, second = n_atoms, n_atoms + len(atom)
    return copies, EdgeList(
        torch.cat([edges.centers, centers + first, centers + second]),
        torch.cat([edges.neighbors, neighbors + first, neighbors + second]),
        torch.cat([edges.cell_shifts, edges.cell_shifts[edge], edges.cell_shifts[edge]]),
    )


def products(forces: Tensor, rows: HessianRows, row: Tensor) -> Tensor:
    """Return H·v of the rows, shape (n_row_atoms, 3), eV/Å², from forces on their displaced copies.

    Parameters
    ----------
    forces
        On the copies moved forwards, then on those moved backwards, shape (2 n_row_atoms, 3), eV/Å.
    rows
        The rows.
    row
        The row of each atom, shape (n_row_atoms,).
    """
    forth, back = forces.chunk(2)
    return (back - forth) / (2.0 * step_lengths(rows, row)[row, None])


def step_lengths(rows: HessianRows, row: Tensor) -> Tensor:
    """Return t of each row, shape (n_rows,), Å; ``row`` is that of each atom, shape (n_row_atoms,)."""
    longest = rows.direction.new_zeros(len(rows.system))
    longest = longest.scatter_reduce(0, row, rows.direction.abs().amax(dim=1), "amax")
    return LARGEST_DISPLACEMENT / longest.clamp(min=1e-12)


def rows_of_atoms(batch: AtomicBatch, rows: HessianRows) -> Tensor:
    """Return the row that each atom of the rows belongs to, shape (n_row_atoms,)."""
    return _members(batch.system_idx, rows.system, batch.n_systems)[1]


def _members(owner: Tensor, systems: Tensor, n_systems: int) -> tuple[Tensor, Tensor]:
    """Return the members of each of ``systems``, one system after the other, and the place in ``systems`` of each.

    Parameters
    ----------
    owner
        The system of each member, shape (n,), non-decreasing.
    systems
        Indices of systems, repeats allowed, shape (n_rows,).
    n_systems
        Number of systems.
    """
    sizes = torch.bincount(owner, minlength=n_systems)
    starts = sizes.cumsum(0) - sizes
    counts = sizes[systems]
    row = torch.repeat_interleave(torch.arange(len(systems), device=owner.device), counts)
    begin = counts.cumsum(0) - counts
    return torch.arange(len(row), device=owner.device) + (starts[systems] - begin)[row], row
