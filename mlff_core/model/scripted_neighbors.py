"""Neighbour search in TorchScript, for a module that runs without this package.

This module has no postponed annotations and no unions with |, because TorchScript reads the annotations.
"""

from typing import Tuple  # noqa: UP035 - TorchScript

import torch
from torch import Tensor, nn


class ScriptedNeighbors(nn.Module):
    """Neighbours with a skin, kept in buffers and searched with cell lists, whose cost is linear in the atoms.

    A search wraps the atoms into the cell, adds their images within reach of the cell, sorts all points into cubic bins
    as wide as the reach, and checks 27 bins for each atom. Cells may be triclinic and smaller than the cutoff; an atom
    then sees several images of another, and of itself.

    Parameters
    ----------
    cutoff
        Longest edge, Å.
    skin
        Extra reach of a search, Å; a new search is made when an atom has moved by half the skin since the last search,
        or the cell has changed.
    """

    reference: Tensor
    reference_cell: Tensor
    centers: Tensor
    neighbors: Tensor
    shifts: Tensor
    n_builds: Tensor

    def __init__(self, cutoff: float, skin: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.skin = skin
        self.register_buffer("reference", torch.zeros(0, 3, dtype=torch.float64))
        self.register_buffer("reference_cell", torch.zeros(3, 3, dtype=torch.float64))
        self.register_buffer("centers", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("neighbors", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("shifts", torch.zeros(0, 3, dtype=torch.float64))
        self.register_buffer("n_builds", torch.zeros((), dtype=torch.int64))

    def forward(self, positions: Tensor, cell: Tensor, periodic: bool) -> Tuple[Tensor, Tensor, Tensor]:  # noqa: UP006
        """Return (centers, neighbors, cell_shifts) of all edges shorter than the cutoff.

        Parameters
        ----------
        positions
            Finite, shape (n_atoms, 3), Å, float64; called inside ``no_grad``.
        cell
            Shape (3, 3), Å, float64, rows are lattice vectors; not read where not periodic.
        periodic
            Along all three lattice vectors, or along none.
        """
        stale = self.reference.shape[0] != positions.shape[0] or not torch.equal(cell, self.reference_cell)
        if not stale:
            moved = (positions - self.reference).square().sum(dim=1).max()
            stale = bool(moved > (0.5 * self.skin) ** 2)
        if stale:
            self.centers, self.neighbors, self.shifts = self.search(positions, cell, periodic)
            self.reference = positions.clone()
            self.reference_cell = cell.clone()
            self.n_builds = self.n_builds + 1
        vectors = positions.index_select(0, self.neighbors) - positions.index_select(0, self.centers)
        vectors = vectors + self.shifts @ cell
        near = ((vectors * vectors).sum(dim=1) < self.cutoff**2).nonzero().squeeze(1)
        return (
            self.centers.index_select(0, near),
            self.neighbors.index_select(0, near),
            self.shifts.index_select(0, near),
        )

    def search(self, positions: Tensor, cell: Tensor, periodic: bool) -> Tuple[Tensor, Tensor, Tensor]:  # noqa: UP006
        """Return (centers, neighbors, cell_shifts) of all pairs within cutoff and skin.

        Parameters
        ----------
        positions
            Shape (n_atoms, 3), Å, float64.
        cell
            Shape (3, 3), Å, float64, rows are lattice vectors.
        periodic
            Along all three lattice vectors, or along none.
        """
        reach = self.cutoff + self.skin
        n_atoms = positions.shape[0]
        device = positions.device
        atoms = torch.arange(n_atoms, device=device)
        owners, at_home, points = atoms, torch.ones(n_atoms, dtype=torch.bool, device=device), positions
        wraps, images = torch.zeros_like(positions), torch.zeros_like(positions)
        if periodic:
            inverse = torch.linalg.inv(cell)
            fractional = positions @ inverse
            wraps = torch.floor(fractional)
            fractional = fractional - wraps
            # The length of a column of the inverse is one over the distance between opposite faces.
            margins = reach * inverse.square().sum(dim=0).sqrt() + 1e-9
            most = torch.ceil(margins)
            a = torch.arange(-int(most[0]), int(most[0]) + 1, device=device)
            b = torch.arange(-int(most[1]), int(most[1]) + 1, device=device)
            c = torch.arange(-int(most[2]), int(most[2]) + 1, device=device)
            steps = torch.stack(torch.meshgrid(a, b, c, indexing="ij"), dim=-1).reshape(-1, 3).to(positions.dtype)
            spread = fractional.unsqueeze(1) + steps.unsqueeze(0)
            inside = ((spread >= -margins) & (spread <= 1.0 + margins)).all(dim=2).nonzero()
            owners = inside[:, 0]
            images = steps.index_select(0, inside[:, 1])
            at_home = (images == 0).all(dim=1)
            points = (fractional.index_select(0, owners) + images) @ cell
            positions = fractional @ cell
        low = points.amin(dim=0)
        extent = points.amax(dim=0) - low
        # At most 10⁵ bins along an axis, so that the number of a bin fits 64 bits however far away an atom is.
        width = torch.clamp(extent.max() / 1e5, min=reach)
        n_bins = torch.floor(extent / width).to(torch.int64) + 4
        stride = torch.stack([n_bins[1] * n_bins[2], n_bins[2], torch.ones_like(n_bins[2])])
        # Offset 2, not 1: rounding may put an atom one bin below its own image.
        point_bins = ((torch.floor((points - low) / width).to(torch.int64) + 2) * stride).sum(dim=1)
        center_bins = ((torch.floor((positions - low) / width).to(torch.int64) + 2) * stride).sum(dim=1)
        order = torch.argsort(point_bins)
        point_bins = point_bins.index_select(0, order)
        centers = [atoms[:0]]
        neighbors = [atoms[:0]]
        shifts = [wraps[:0]]
        for dx in range(-1, 2):
            for dy in range(-1, 2):
                # Three adjacent bins along z have three consecutive numbers.
                middle = center_bins + dx * stride[0] + dy * stride[1]
                first = torch.searchsorted(point_bins, middle - 1)
                counts = torch.searchsorted(point_bins, middle + 1, right=True) - first
                i = torch.repeat_interleave(atoms, counts)
                place = torch.arange(i.shape[0], device=device)
                place = place + torch.repeat_interleave(first - (torch.cumsum(counts, 0) - counts), counts)
                k = order.index_select(0, place)
                j = owners.index_select(0, k)
                squared = (points.index_select(0, k) - positions.index_select(0, i)).square().sum(dim=1)
                itself = at_home.index_select(0, k) & (i == j)
                kept = ((squared < reach**2) & ~itself).nonzero().squeeze(1)
                i, j, k = i.index_select(0, kept), j.index_select(0, kept), k.index_select(0, kept)
                centers.append(i)
                neighbors.append(j)
                shifts.append(images.index_select(0, k) - wraps.index_select(0, j) + wraps.index_select(0, i))
        return torch.cat(centers), torch.cat(neighbors), torch.cat(shifts)
