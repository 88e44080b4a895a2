"""Batches for training: packed by atoms and edges, in an order fixed by a seed, from a data set of any size.

A set that fits into ``cache_mib`` is read once and shuffled as a whole, and its edges are searched once if they fit
too. A larger set is cut into blocks of neighbouring structures; each epoch draws the blocks in a new order, reads as
many as fit into a quarter of the cache, and shuffles those while a thread reads the next ones: memory stays bounded,
and any two structures may still be in one batch.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch

from mlff_core.data.edge_store import EdgeStore
from mlff_core.data.edges import find_edges
from mlff_core.data.memory import Indices, Rows, bytes_per_structure
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledBatch
from mlff_core.errors import InputError
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList

T = TypeVar("T")
BLOCK_ATOMS = 65_536
"""Atoms of a block: a few HDF5 chunks, so that reading one decompresses little else."""
COUNT_ATOMS = 16_384
"""Atoms whose edges are counted at once."""


@dataclass(frozen=True)
class BatchConfig:
    """Settings of batches: their size, and the memory that loading may use."""

    atoms: int = 512
    edges: int = 12_288
    """Largest number of atoms and of directed edges in a batch; a larger structure is a batch of its own."""
    cache_mib: int = 512
    """Memory for structures, and for their edges where both fit, MiB."""
    prefetch: int = 4
    """Batches made ahead in a thread; 0 makes each batch when it is needed."""

    def __post_init__(self) -> None:
        for name, least in (("atoms", 1), ("edges", 1), ("cache_mib", 1), ("prefetch", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """A batch and its position in the epoch."""

    labels: LabelledBatch
    """The structures of this process's share."""
    edges: EdgeList
    """Their edges."""
    position: int
    """Structures of the epoch used up to and including this batch, over all processes."""

    def to(self, device: torch.device, dtype: torch.dtype) -> TrainingBatch:
        """Return the batch on another device and in another precision."""
        return TrainingBatch(self.labels.to(device, dtype), self.edges.to(device, dtype), self.position)


class BatchLoader:
    """Batches of some structures of a data set for any number of epochs.

    The same seed gives the same batches, also when an epoch is entered in the middle. With several processes each batch
    is packed to ``world`` times the limits and dealt out, so that all processes together take the same steps as one
    process with that batch.

    Parameters
    ----------
    dataset
        A labelled set.
    indices
        Indices of the structures, shape (n_structures,).
    cutoff
        Cutoff of the edges, Å.
    config
        Limits of a batch.
    seed
        Seed of the order; None keeps the order of the file.
    rank, world
        Number of this process, and of all processes.

    Raises
    ------
    InputError
        No structures.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Indices,
        cutoff: float,
        config: BatchConfig | None = None,
        *,
        seed: int | None = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if len(indices) == 0:
            raise InputError(f"{dataset.path} has no structures to load: the split is empty")
        self.dataset = dataset
        # Arrays with one row per structure are most of the memory of a large set: none is kept that can be read again.
        self.indices = np.asarray(indices, dtype=np.int64)
        if (self.indices[1:] < self.indices[:-1]).any():
            self.indices = np.sort(self.indices)
        self.cutoff = cutoff
        self.config = config or BatchConfig()
        self.seed = seed
        self.rank, self.world = rank, world
        self._n_edges = np.full(len(self.indices), -1, dtype=np.int32)
        self._whole: Rows | None = None
        self._edges: EdgeStore | None = None

    def __len__(self) -> int:
        """Return the number of structures of an epoch."""
        return len(self.indices)

    @cached_property
    def room(self) -> int:
        """Memory left when all structures are loaded, bytes; negative where they do not fit."""
        size = int(bytes_per_structure(self.dataset, self.indices).sum(dtype=np.int64))
        return (self.config.cache_mib << 20) - size

    @property
    def fits(self) -> bool:
        """Whether all structures fit into memory."""
        return self.room >= 0

    def epoch(self, epoch: int, position: int = 0) -> Generator[TrainingBatch, None, None]:
        """Yield the batches of an epoch, beginning after ``position`` structures."""
        batches = self._batches(epoch, position)
        yield from batches if self.config.prefetch == 0 else ahead(batches, self.config.prefetch)

    def forever(self, epoch: int, position: int = 0) -> Generator[tuple[int, TrainingBatch], None, None]:
        """Yield (epoch, batch) without end."""
        while True:
            for batch in self.epoch(epoch, position):
                yield epoch, batch
            epoch, position = epoch + 1, 0

    def _batches(self, epoch: int, position: int) -> Iterator[TrainingBatch]:
        begin = 0
        groups = []
        for number, ranges in enumerate(self.groups(epoch)):
            size = sum(stop - start for start, stop in ranges)
            if begin + size > position:
                groups.append((number, begin, ranges))
            begin += size

        def loaded() -> Iterator[tuple[int, int, Indices, Rows]]:
            for number, begin, ranges in groups:
                group = np.concatenate([np.arange(start, stop) for start, stop in ranges])
                yield number, begin, group, self._rows(group)

        # One group ahead, so that memory holds two quarters of the cache, and the buffers of reading.
        source = loaded() if self.fits else ahead(loaded(), 1)
        for number, begin, group, rows in source:
            self._count_edges(group, rows)
            order = np.arange(len(group))
            if self.seed is not None:
                order = np.random.default_rng([self.seed, epoch, 1 + number]).permutation(len(group))
            for start, stop in self._packed(group, rows, order):
                if begin + start < position:
                    continue
                members = order[start:stop][self.rank :: self.world]
                labels = rows.gather(members)
                yield TrainingBatch(labels, self._edges_of(members, labels.batch), begin + stop)

    def _edges_of(self, members: Indices, batch: AtomicBatch) -> EdgeList:
        if self._edges is not None:
            return self._edges.gather(members, batch)
        return find_edges(batch, self.cutoff)

    def groups(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Return ranges of ``indices`` grouped by what is in memory together, groups in the order of the epoch."""
        if self.fits:
            return [[(0, len(self.indices))]]
        blocks = np.cumsum(self.dataset.n_atoms_of(self.indices)) // BLOCK_ATOMS
        starts = np.concatenate([[0], np.flatnonzero(np.diff(blocks)) + 1])
        stops = np.append(starts[1:], len(self.indices))
        weights = np.add.reduceat(bytes_per_structure(self.dataset, self.indices), starts, dtype=np.int64)
        order = np.arange(len(starts))
        if self.seed is not None:
            order = np.random.default_rng([self.seed, epoch, 0]).permutation(len(starts))
        groups: list[list[tuple[int, int]]] = []
        members: list[tuple[int, int]] = []
        size = 0
        for block in order:
            if members and size + weights[block] > (self.config.cache_mib << 20) // 4:
                groups.append(sorted(members))
                members, size = [], 0
            members.append((int(starts[block]), int(stops[block])))
            size += int(weights[block])
        return [*groups, sorted(members)]

    @property
    def is_in_memory(self) -> bool:
        """Whether all structures have been loaded into memory."""
        return self._whole is not None

    def _rows(self, group: Indices) -> Rows:
        if not self.fits:
            return Rows(self.dataset, self.indices[group])
        if self._whole is None:
            self._whole = Rows(self.dataset, self.indices)
        return self._whole

    def _count_edges(self, group: Indices, rows: Rows) -> None:
        """Fill in the number of edges of each structure of a group, once in a run; keep the edges if they fit too."""
        if bool((self._n_edges[group] >= 0).all()):
            return
        ends = rows.offsets[1:]
        store = EdgeStore(self.room, has_cells=self.dataset.has("cell")) if self.fits else None
        for part in np.split(np.arange(len(group)), np.flatnonzero(np.diff(ends // COUNT_ATOMS)) + 1):
            batch = rows.gather(part).batch
            edges = find_edges(batch, self.cutoff)
            counts = torch.bincount(batch.system_idx[edges.centers], minlength=batch.n_systems).numpy()
            self._n_edges[group[part]] = counts
            if store is not None and not store.add(batch, edges, counts):
                store = None
        if store is not None:
            store.close()
        self._edges = store

    def _packed(self, group: Indices, rows: Rows, order: Indices) -> list[tuple[int, int]]:
        """Return the ranges of ``order`` that each form a batch."""
        atoms = np.diff(rows.offsets)[order].tolist()
        edges = self._n_edges[group][order].tolist()
        most_atoms, most_edges = self.config.atoms * self.world, self.config.edges * self.world
        ranges, start, sum_atoms, sum_edges = [], 0, 0, 0
        for k, (n_atoms, n_edges) in enumerate(zip(atoms, edges, strict=True)):
            if k > start and (sum_atoms + n_atoms > most_atoms or sum_edges + n_edges > most_edges):
                ranges.append((start, k))
                start, sum_atoms, sum_edges = k, 0, 0
            sum_atoms, sum_edges = sum_atoms + n_atoms, sum_edges + n_edges
        ranges.append((start, len(order)))
        return ranges


def ahead(source: Iterator[T], depth: int) -> Iterator[T]:
    """Yield the items of ``source``, made in advance in a thread.

    Parameters
    ----------
    source
        An iterator; it runs in the thread.
    depth
        Number of items made in advance.
    """
    items: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    room = threading.Semaphore(depth)
    stopped = threading.Event()

    def work() -> None:
        try:
            iterator = iter(source)
            while True:
                room.acquire()
                if stopped.is_set():
                    return
                try:
                    item = next(iterator)
                except StopIteration:
                    items.put(("end", None))
                    return
                items.put(("item", item))
                del item
        except BaseException as error:  # passed to the consumer, which raises it
            items.put(("error", error))

    thread = threading.Thread(target=work, name="mlff-loader", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            room.release()
            yield value
            del value
    finally:
        stopped.set()
        room.release()
        while not items.empty():
            items.get_nowait()
        thread.join(timeout=10)
