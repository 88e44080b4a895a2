"""Edges of structures kept in memory: searched once in a run, then combined into the edges of batches."""

from __future__ import annotations

import numpy as np
import torch

from mlff_core.data.memory import Indices, ranges
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList


class EdgeStore:
    """Edges of structures in few bytes each: an edge's atoms are counted within their structure.

    Parameters
    ----------
    room
        Most memory to use, bytes.
    has_cells
        Whether edges may go to periodic images.
    """

    def __init__(self, room: int, *, has_cells: bool) -> None:
        self._left = room
        self._names = ("centers", "neighbors", "shifts") if has_cells else ("centers", "neighbors")
        self._parts: dict[str, list[torch.Tensor]] = {name: [] for name in self._names}
        self._counts: list[Indices] = []
        self._whole: dict[str, torch.Tensor] = {}
        self._offsets: Indices = np.zeros(1, dtype=np.int64)

    def add(self, batch: AtomicBatch, edges: EdgeList, counts: Indices) -> bool:
        """Keep the edges of further structures, and return whether there was memory for them.

        Parameters
        ----------
        batch, edges
            The structures and their edges, structure by structure.
        counts
            Edges of each structure, shape (n_systems,).
        """
        sizes = torch.bincount(batch.system_idx, minlength=batch.n_systems)
        first = (sizes.cumsum(0) - sizes)[batch.system_idx[edges.centers]]
        columns = {"centers": edges.centers - first, "neighbors": edges.neighbors - first, "shifts": edges.cell_shifts}
        for name in self._names:
            dtype = torch.int8 if name == "shifts" else torch.int16
            values = columns[name]
            if values.numel() and float(values.abs().max()) > torch.iinfo(dtype).max:
                return False
            self._parts[name].append(values.to(dtype))
            self._left -= self._parts[name][-1].nbytes
        self._counts.append(counts)
        self._left -= 8 * len(counts)
        return self._left >= 0

    def close(self) -> None:
        """Join everything that was added; call it after the last :meth:`add`."""
        for name in self._names:
            self._whole[name] = torch.cat(self._parts.pop(name))
        self._offsets = np.concatenate([[0], np.cumsum(np.concatenate(self._counts))])
        self._counts.clear()

    def gather(self, rows: Indices, batch: AtomicBatch) -> EdgeList:
        """Return the edges of the structures at ``rows``, in that order.

        Parameters
        ----------
        rows
            Indices of the structures in the order they were added, shape (n_systems,).
        batch
            The same structures.
        """
        counts = torch.from_numpy(self._offsets[rows + 1] - self._offsets[rows])
        edge = ranges(self._offsets, rows)
        sizes = torch.bincount(batch.system_idx, minlength=batch.n_systems)
        first = torch.repeat_interleave(sizes.cumsum(0) - sizes, counts)
        centers, neighbors = (self._whole[name][edge].long() + first for name in ("centers", "neighbors"))
        if "shifts" in self._whole:
            shifts = self._whole["shifts"][edge].to(batch.dtype)
        else:
            shifts = batch.positions.new_zeros(len(edge), 3)
        return EdgeList(centers, neighbors, shifts)
