"""Neighbour search on the GPU, for many systems at once: by bins in large systems, all pairs in small ones.

A system has a grid of bins at least as wide as the cutoff. If there is only one bin, every pair is checked, in as many
periodic images as the cutoff reaches. The sizes of all tensors are then independent of the positions, so the search can
be part of a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlff_core.errors import InputError
from mlff_core.kernels.triton.jit import search as search_kernels
from mlff_core.kernels.triton.launch import interpreted, launch
from mlff_core.kernels.triton.padded import PaddedNeighbors, empty_neighbors, rounded_capacity
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import MAX_IMAGES

FEW_ATOMS = 256
"""Largest number of atoms of a system that is searched pair by pair."""
MOST_BINS = 64
"""Largest number of bins along one lattice vector."""


@dataclass(frozen=True, slots=True)
class SortedAtoms:
    """Atoms sorted into bins.

    Parameters
    ----------
    order
        Atoms, system by system and bin by bin, shape (n_atoms,).
    wrapped
        Positions wrapped into the cell, shape (n_atoms, 3), Å.
    wraps
        Number of lattice vectors subtracted from each position, shape (n_atoms, 3), int32.
    bins
        Bin of each atom along each lattice vector, shape (n_atoms, 3), int32.
    starts
        Place in ``order`` at which each bin begins, shape (n_bins + 1,), int32.
    grids, reaches
        Number of bins of each system along each lattice vector, and number of bins that the cutoff reaches, shape
        (n_systems, 3), int32.
    first_bins
        Index of the first bin of each system, shape (n_systems,), int32.
    """

    order: Tensor
    wrapped: Tensor
    wraps: Tensor
    bins: Tensor
    starts: Tensor
    grids: Tensor
    reaches: Tensor
    first_bins: Tensor


class NeighborSearch:
    """Finds all neighbours within a cutoff of structures that move.

    Parameters
    ----------
    batch
        The structures: cells, periodicity, and the system of each atom.
    cutoff
        Longest distance of two neighbours, Å.
    by_bins
        False checks all pairs, without reading anything from the GPU; None decides by the size of the systems.

    Raises
    ------
    InputError
        A periodic cell has no volume, or so little that there are too many images.
    """

    def __init__(self, batch: AtomicBatch, cutoff: float, *, by_bins: bool | None = None) -> None:
        batch.validate_values()
        self.cutoff = cutoff
        self.n_atoms, self.n_systems = batch.n_atoms, batch.n_systems
        self.device, self.dtype = batch.device, batch.dtype
        self.system_idx = batch.system_idx.clone()
        counts = torch.bincount(batch.system_idx, minlength=self.n_systems)
        self.by_bins = int(counts.max()) > FEW_ATOMS if by_bins is None else by_bins
        # A new tensor, because the batch's may be a transposed view and the kernels read rows.
        self.full_cell = torch.empty(self.n_systems, 3, 3, dtype=self.dtype, device=self.device)
        self.inverse = torch.empty_like(self.full_cell)
        self.heights = torch.empty(self.n_systems, 3, dtype=self.dtype, device=self.device)
        self._describe_cell(batch)
        self.periodic = batch.pbc.clone()
        self.all_periodic = bool(batch.pbc.all())
        starts = torch.zeros(self.n_systems + 1, dtype=torch.int32, device=self.device)
        starts[1:] = counts.cumsum(0)
        self._all_pairs = (
            torch.arange(self.n_atoms, device=self.device),
            starts,
            torch.ones(self.n_systems, 3, dtype=torch.int32, device=self.device),
            torch.arange(self.n_systems, dtype=torch.int32, device=self.device),
        )

    def change_cell(self, batch: AtomicBatch) -> None:
        """Use other cells for the same structures; every tensor keeps its memory, as a CUDA graph needs.

        Raises
        ------
        InputError
            A cell is not finite, or has no volume or almost none.
        """
        batch.validate_values()
        self._describe_cell(batch)

    def _describe_cell(self, batch: AtomicBatch) -> None:
        pbc = batch.pbc.cpu()
        full = _complete_cells(batch.cell.detach().cpu().double(), pbc)
        inverse = torch.linalg.inv(full)
        # The columns of the inverse are normal to the cell's faces; their length is one over the faces' distance.
        heights = 1.0 / torch.linalg.vector_norm(inverse, dim=1)
        images = (2 * torch.ceil(self.cutoff / heights) + 1).where(pbc, torch.ones(()).double()).prod(dim=1)
        if not bool((images < MAX_IMAGES).all()):
            raise InputError(
                f"a periodic cell has almost no volume: {int(images.max())} images lie within {self.cutoff} Å; give "
                "the true cell, or switch pbc off"
            )
        self.full_cell.copy_(full)
        self.inverse.copy_(inverse)
        self.heights.copy_(heights)

    def sort(self, positions: Tensor) -> SortedAtoms:
        """Return the atoms sorted into bins.

        Parameters
        ----------
        positions
            Shape (n_atoms, 3), Å.
        """
        positions, idx, periodic = positions.contiguous(), self.system_idx, self.periodic
        fractions = torch.einsum("ai,aij->aj", positions, self.inverse[idx])
        wraps = torch.where(periodic[idx], fractions.floor(), torch.zeros_like(fractions))
        wrapped = positions - torch.einsum("ai,aij->aj", wraps, self.full_cell[idx])
        if not self.by_bins:
            order, starts, grids, first_bins = self._all_pairs
            reaches = torch.where(periodic, torch.ceil(self.cutoff / self.heights), torch.zeros_like(self.heights))
            bins = torch.zeros_like(wraps, dtype=torch.int32)
            return SortedAtoms(
                order, wrapped, wraps.to(torch.int32), bins, starts, grids, reaches.to(torch.int32), first_bins
            )
        fractions = fractions - wraps
        low, extent = torch.zeros_like(self.heights), torch.ones_like(self.heights)
        if not self.all_periodic:
            index = idx.unsqueeze(1).expand(-1, 3)
            least = low.scatter_reduce(0, index, fractions, "amin", include_self=False)
            most = low.scatter_reduce(0, index, fractions, "amax", include_self=False)
            low = torch.where(periodic, low, least)
            extent = torch.where(periodic, extent, (most - least).clamp(min=1e-3))
        lengths = extent * self.heights
        grids = torch.floor(lengths / self.cutoff).clamp(1, MOST_BINS)
        reaches = torch.ceil(self.cutoff * grids / lengths)
        # A single bin without periodic images has no neighbouring bins.
        reaches = torch.where(periodic | (grids > 1), reaches, torch.zeros_like(reaches))
        position = (fractions - low[idx]) / extent[idx] * grids[idx]
        bins = torch.minimum(position.floor().clamp(min=0), grids[idx] - 1).to(torch.int64)
        whole = grids.to(torch.int64)
        sizes = whole.prod(dim=1)
        first_bins = sizes.cumsum(0) - sizes
        own = whole[idx]
        number = first_bins[idx] + (bins[:, 0] * own[:, 1] + bins[:, 1]) * own[:, 2] + bins[:, 2]
        order = number.argsort(stable=True)
        n_bins = int(sizes.sum())
        starts = torch.searchsorted(number[order], torch.arange(n_bins + 1, device=self.device))
        return SortedAtoms(
            order,
            wrapped,
            wraps.to(torch.int32),
            bins.to(torch.int32),
            starts.to(torch.int32),
            grids.to(torch.int32),
            reaches.to(torch.int32),
            first_bins.to(torch.int32),
        )

    def fill(self, atoms: SortedAtoms, slots: PaddedNeighbors) -> None:
        """Write the neighbours into slots; ``n_candidates`` also counts neighbours for which there was no slot.

        Parameters
        ----------
        atoms
            From :meth:`sort`.
        slots
            The slots of the atoms.
        """
        launch(
            search_kernels.search_bins, (self.n_atoms,),
            atoms.wrapped, atoms.wraps, atoms.bins, self.system_idx, self.full_cell, self.periodic.to(torch.int32),
            atoms.grids, atoms.reaches, atoms.first_bins, atoms.starts, atoms.order,
            slots.candidates, slots.shifts, slots.n_candidates, slots.capacity,
            CUTOFF=self.cutoff, BLOCK=64 if interpreted() else 32, num_warps=1,
        )  # fmt: skip
        launch(
            search_kernels.find_reverse, (self.n_atoms,),
            slots.candidates, slots.shifts, slots.n_candidates, slots.reverse, slots.capacity,
            BLOCK_M=128 if interpreted() else 16, BLOCK=128 if interpreted() else 32, num_warps=4,
        )  # fmt: skip

    def find(self, positions: Tensor, *, room: float = 1.0) -> PaddedNeighbors:
        """Return all neighbours, in enough slots.

        Parameters
        ----------
        positions
            Shape (n_atoms, 3), Å.
        room
            Number of slots as a multiple of the largest number of neighbours of an atom.
        """
        atoms = self.sort(positions)
        slots = empty_neighbors(self.n_atoms, rounded_capacity(64), self.device)
        self.fill(atoms, slots)
        most = int(slots.n_candidates.max())
        wanted = rounded_capacity(int(most * room))
        if wanted > slots.capacity:
            slots = empty_neighbors(self.n_atoms, wanted, self.device)
            self.fill(atoms, slots)
        elif wanted < slots.capacity:
            slots = PaddedNeighbors(
                slots.candidates[:, :wanted].contiguous(),
                slots.shifts[:, :wanted].contiguous(),
                slots.reverse[:, :wanted].contiguous(),
                slots.n_candidates,
            )
        return slots


def _complete_cells(cell: Tensor, pbc: Tensor) -> Tensor:
    """Return cells (n_systems, 3, 3), Å, with unit vectors along directions that are not periodic."""
    complete = torch.where(pbc[:, :, None], cell, torch.eye(3, dtype=cell.dtype))
    for k in (pbc.any(dim=1) & ~pbc.all(dim=1)).nonzero().flatten().tolist():
        # The rows of the full right basis past the rank are orthogonal to every periodic lattice vector.
        given = cell[k][pbc[k]]
        _, _, basis = torch.linalg.svd(given, full_matrices=True)
        complete[k][~pbc[k]] = basis[len(given) :]
    return complete
