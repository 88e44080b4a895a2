"""Neighbour search: the pairs of atoms within a cutoff, periodic images included.

The search is done by vesin (https://github.com/Luthaf/vesin, BSD-3-Clause).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlff_core.errors import InputError, OverlapError
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.far import FARTHEST

OVERLAP = 0.3
"""Smallest allowed distance of two atoms, Å: no force field is meaningful below it."""

JUMP = 0.15
"""Displacement of an atom between two evaluations, Å, beyond which it was moved by an optimiser: a hydrogen atom of a
molecule at 300 K moves 0.03 Å in a femtosecond."""

NUCLEUS = 0.05
"""Radius of the charged balls in the repulsion of a trial step, Å; inside it the energy stays finite."""

SAME_STEP = 0.35
"""Largest relative difference of two successive steps of an atom in dynamics, for most atoms; a line search goes back,
or on by a half or a golden section."""

MAX_IMAGES = 100_000
"""Most periodic images within reach of an atom; a cell that needs more is too small or too flat for any structure."""

LONG_EXTENT = 50.0
"""Extent along a non-periodic direction, in cutoffs, beyond which empty space is cut out: the search steps through it
cell by cell, and its process dies of a floating-point exception near 10⁵ cells."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeList:
    """Directed edges, sorted by ``centers``; every pair occurs in both directions.

    ``vector = positions[neighbors] + cell_shifts @ cell − positions[centers]``

    Parameters
    ----------
    centers, neighbors
        Indices of atoms, shape (n_edges,), int64.
    cell_shifts
        How many times each lattice vector is added to the neighbour, shape (n_edges, 3): whole numbers in the
        dtype of the positions, so that no step has to convert them.
    """

    centers: Tensor
    neighbors: Tensor
    cell_shifts: Tensor

    @property
    def n_edges(self) -> int:
        """Number of directed edges."""
        return self.centers.shape[0]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> EdgeList:
        """Return the edges on another device, with ``cell_shifts`` in another precision."""
        return EdgeList(
            self.centers.to(device=device),
            self.neighbors.to(device=device),
            self.cell_shifts.to(device=device, dtype=dtype),
        )

    def select(self, keep: Tensor) -> EdgeList:
        """Return the edges where ``keep``, shape (n_edges,), bool, is true."""
        index = keep.nonzero().squeeze(1)
        return EdgeList(self.centers[index], self.neighbors[index], self.cell_shifts[index])


def edge_vectors(batch: AtomicBatch, edges: EdgeList) -> Tensor:
    """Return the vectors from centres to neighbours, shape (n_edges, 3), Å; differentiable in positions and cell."""
    vectors = batch.positions[edges.neighbors] - batch.positions[edges.centers]
    if batch.n_systems == 1:
        return vectors + edges.cell_shifts @ batch.cell[0]
    cells = batch.cell[batch.system_idx[edges.centers]]
    return vectors + torch.einsum("ei,eij->ej", edges.cell_shifts, cells)


def overlap_error(batch: AtomicBatch, edges: EdgeList, k: int) -> OverlapError:
    """Return the error that names the two overlapping atoms of edge ``k`` and their distance."""
    distance = float(edge_vectors(batch, edges)[k].norm())
    return OverlapError(
        f"atoms {int(edges.centers[k])} and {int(edges.neighbors[k])} overlap: they are "
        f"{distance:.3f} Å apart, at least {OVERLAP} Å is needed; check the structure or shorten the time step"
    )


def find_neighbors(batch: AtomicBatch, cutoff: float) -> EdgeList:
    """Return all edges shorter than ``cutoff``, in Å, of every structure of the batch.

    Molecules, slabs, triclinic cells and cells smaller than the cutoff (an atom then sees several images of another,
    and of itself) are all supported. A cell along a direction whose ``pbc`` is off has no effect.

    Raises
    ------
    InputError
        There are no atoms, positions or a cell are not finite, the atoms of a structure are not together, a periodic
        cell has almost no volume, or the cutoff is not positive.
    """
    positions = batch.positions.detach().to("cpu", torch.float64)
    cells = batch.cell.detach().to("cpu", torch.float64)
    pbc = batch.pbc.cpu()
    system_idx = batch.system_idx.cpu()
    # The library that searches ends the process with a signal if it is given NaN.
    finite = bool(torch.isfinite(positions).all() & torch.isfinite(cells).all())
    if batch.n_atoms == 0 or not finite or bool((system_idx[1:] < system_idx[:-1]).any()):
        batch.validate_values()
    if not cutoff > 0:
        raise InputError(f"cutoff must be positive, got {cutoff} Å")
    counts = torch.bincount(system_idx, minlength=batch.n_systems).tolist()
    centers, neighbors, shifts, offset = [], [], [], 0
    for k, count in enumerate(counts):
        i, j, s = _search(positions[offset : offset + count], cells[k], pbc[k], cutoff)
        centers.append(i + offset)
        neighbors.append(j + offset)
        shifts.append(s)
        offset += count
    return EdgeList(torch.cat(centers), torch.cat(neighbors), torch.cat(shifts)).to(batch.device, batch.dtype)


def _search(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (centers, neighbors, cell_shifts) of one structure; positions (n_atoms, 3) and cell (3, 3) in Å."""
    from vesin import NeighborList

    box = _complete_cell(cell, pbc)
    if not bool(pbc.all()):
        positions = _close_gaps(positions, box[~pbc], cutoff)
    if bool(pbc.any()):
        _check_cell(positions, box, pbc, cutoff)
    search = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=torch.get_num_threads())
    i, j, s = search.compute(
        points=positions.contiguous().numpy(), box=box.numpy(), periodic=pbc.numpy(), quantities="ijS"
    )
    return (
        torch.from_numpy(i.astype("int64")),
        torch.from_numpy(j.astype("int64")),
        torch.from_numpy(s.astype("float64")).reshape(-1, 3),
    )


def _complete_cell(cell: Tensor, pbc: Tensor) -> Tensor:
    """Return the cell with unit vectors along non-periodic directions, so that it has a volume; (3, 3), Å."""
    if bool(pbc.all()):
        return cell
    complete = torch.zeros(3, 3, dtype=cell.dtype)
    periodic = cell[pbc]
    complete[pbc] = periodic
    if len(periodic) == 0:
        return torch.eye(3, dtype=cell.dtype)
    # The rows of the full right basis past the rank are orthogonal to every periodic lattice vector.
    _, _, basis = torch.linalg.svd(periodic, full_matrices=True)
    complete[~pbc] = basis[len(periodic) :]
    return complete


def _check_cell(positions: Tensor, box: Tensor, pbc: Tensor, cutoff: float) -> None:
    """Refuse a cell with too many images; positions (n_atoms, 3) and box (3, 3), Å."""
    inverse, failed = torch.linalg.inv_ex(box)
    # The columns of the inverse are the normals of the cell's faces, as long as one over the distance between them.
    reach = cutoff * torch.linalg.vector_norm(inverse, dim=0)[pbc]
    if int(failed) or not bool((2 * reach + 1).prod() < MAX_IMAGES):
        lengths = ", ".join(f"{length:.3g}" for length in torch.linalg.vector_norm(box[pbc], dim=1).tolist())
        raise InputError(
            f"the periodic cell has no volume, or next to none: its periodic lattice vectors are {lengths} Å long and "
            "may lie in one plane or line; give the true cell, or switch pbc off"
        )
    if len(positions) and float(positions.abs().max()) > FARTHEST:
        raise InputError(
            f"atom {int(positions.abs().max(dim=1).values.argmax())} is more than {FARTHEST:g} Å from the origin; wrap "
            "the atoms into the cell, or check the MD step before this one"
        )


def _close_gaps(positions: Tensor, directions: Tensor, cutoff: float) -> Tensor:
    """Return positions (n_atoms, 3), Å, with long empty space along non-periodic ``directions`` (n, 3) cut out.

    ``directions`` are unit vectors. Atoms further apart than the cutoff along one of them are never a pair. A longer
    gap can therefore be closed to twice the cutoff, so fragments that drift apart cost nothing.
    """
    for direction in directions:
        along = positions @ direction
        if len(along) == 0 or float(along.max() - along.min()) <= LONG_EXTENT * cutoff:
            continue
        ordered, order = along.sort()
        closed = torch.zeros_like(along)
        closed[order[1:]] = (ordered[1:] - ordered[:-1]).clamp(max=2 * cutoff).cumsum(0)
        # In two steps: a single shift by a huge distance would round away the small digits.
        positions = (positions - along[:, None] * direction) + closed[:, None] * direction
    return positions


class VerletNeighborList:
    """Neighbours of a structure that moves a little at each call, searched again only when necessary.

    Candidates within ``cutoff + skin`` are kept until an atom has moved by more than half the skin, or the cell, the
    periodicity, the species or the number of atoms has changed. Each call returns the candidates shorter than
    ``cutoff``, so the result is exactly that of :func:`find_neighbors`, up to the order within a centre
    (L. Verlet, Phys. Rev. 159, 98 (1967), doi:10.1103/PhysRev.159.98).

    Parameters
    ----------
    cutoff
        Longest edge, Å.
    skin
        Extra distance of the candidates, Å; with 0 every call searches.
    """

    def __init__(self, cutoff: float, skin: float = 1.0) -> None:
        if not cutoff > 0 or not skin >= 0:
            raise InputError(f"cutoff must be positive and skin not negative, got {cutoff} Å and {skin} Å")
        self.cutoff = cutoff
        self.skin = skin
        self.n_builds = 0
        self._reference: AtomicBatch | None = None
        self._candidates: EdgeList | None = None

    def edges(self, batch: AtomicBatch) -> EdgeList:
        """Return all edges of the batch shorter than the cutoff."""
        candidates = self.candidates(batch)
        with torch.no_grad():
            vectors = edge_vectors(batch, candidates)
            return candidates.select((vectors * vectors).sum(dim=1) < self.cutoff**2)

    def candidates(self, batch: AtomicBatch) -> EdgeList:
        """Return all edges of the batch shorter than the cutoff, and some longer ones, by up to the skin."""
        if self._candidates is None or self._is_stale(batch):
            self._candidates = find_neighbors(batch, self.cutoff + self.skin)
            # Own copies: an engine may write into its arrays between calls.
            self._reference = AtomicBatch(
                batch.positions.detach().clone(),
                batch.atomic_numbers.clone(),
                batch.cell.detach().clone(),
                batch.pbc.clone(),
                batch.system_idx.clone(),
            )
            self.n_builds += 1
        return self._candidates

    def _is_stale(self, batch: AtomicBatch) -> bool:
        old = self._reference
        if (
            old is None
            or batch.n_atoms == 0
            or old.positions.shape != batch.positions.shape
            or old.cell.shape != batch.cell.shape
            or old.dtype != batch.dtype
            or old.device != batch.device
            or not torch.equal(old.cell, batch.cell)
            or not torch.equal(old.pbc, batch.pbc)
            or not torch.equal(old.atomic_numbers, batch.atomic_numbers)
            or not torch.equal(old.system_idx, batch.system_idx)
        ):
            return True
        # `not <=` so that NaN counts as stale; the search then refuses it.
        return not _largest_move(old.positions, batch.positions.detach()) <= (self.skin / 2) ** 2


def _largest_move(before: Tensor, after: Tensor) -> float:
    """Return the largest squared distance, Å², between positions (n_atoms, 3), Å, before and after a move."""
    if after.device.type == "cpu":
        # A step of a small student takes a tenth of a millisecond; five calls of torch would be a fifth of that.
        moves = after.numpy() - before.numpy()
        return float(np.einsum("ij,ij->i", moves, moves).max())
    return float((after - before).square().sum(dim=1).max())
