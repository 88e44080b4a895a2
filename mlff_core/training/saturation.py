"""The bounds of a student's learned energies, measured on its training data."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlff_core.data.loader import BatchConfig, BatchLoader
from mlff_core.data.memory import Indices
from mlff_core.data.reader import Dataset
from mlff_core.errors import InputError
from mlff_core.kernels.choose import choose_kernel
from mlff_core.model.saturation import Saturation
from mlff_core.model.student import Student
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList

MARGIN = 2.0
"""Largest energy by which the learned energy of an atom may leave the range of the training data, eV. Over the first
half of it nothing changes, since a range is measured on a sample; over the second half the energy saturates."""


def write_saturation(
    path: Path, sets: Sequence[tuple[Dataset, Indices]], margin: float = MARGIN, **options: Any
) -> None:
    """Measure the bounds of the student in a model file, and write the file again with them.

    Parameters
    ----------
    path
        The model file.
    sets, margin, options
        See :func:`measured_saturation`.
    """
    model, card = load_checkpoint(path)
    model.saturation = measured_saturation(model, sets, margin, **options).to(model.scale)
    save_checkpoint(path, model, card)


def measured_saturation(
    model: Student,
    sets: Sequence[tuple[Dataset, Indices]],
    margin: float = MARGIN,
    *,
    before: Saturation | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch: BatchConfig | None = None,
) -> Saturation:
    """Return bounds that change nothing on labelled structures, on the CPU in float64.

    Parameters
    ----------
    model
        The trained student; its own bounds are not used, and it is not changed.
    sets
        Data sets, each with the indices of the structures to measure on, shape (n_structures,), int64: the training
        data, or a sample of them.
    margin
        See :data:`MARGIN`.
    before
        Bounds of the student that this one was fine-tuned from; they are only widened.
    device, dtype
        Device and precision of the computation.
    batch
        How structures are put into batches.

    Raises
    ------
    InputError
        There are no structures, or the margin is not positive.
    """
    if not 0 < margin < math.inf:
        raise InputError(f"the margin of bounds of energies must be positive and finite, in eV, got {margin}")
    if not sum(len(indices) for _, indices in sets):
        raise InputError("no structures to measure the bounds of energies on; give a data set with structures")
    learned = _Learned(model, device, dtype)
    for dataset, indices in sets:
        if len(indices) == 0:
            continue
        with contextlib.closing(BatchLoader(dataset, indices, model.cutoff, batch, seed=None).epoch(0)) as batches:
            for item in batches:
                moved = item.to(torch.device(device), dtype)
                learned.add(moved.labels.batch, moved.edges)
    half = 0.5 * margin
    # An element that no structure has is as well known as a free atom: its learned energy stays near zero.
    is_seen = learned.least <= learned.largest
    lowest = torch.where(is_seen, learned.least, 0.0) - half
    highest = torch.where(is_seen, learned.largest, 0.0) + half
    if before is not None:
        lowest = torch.minimum(lowest, before.lowest.cpu().double())
        highest = torch.maximum(highest, before.highest.cpu().double())
    return Saturation(lowest.tolist(), highest.tolist(), half).double()


class _Learned:
    """Ranges of what a network alone gives the atoms of each element, shape (n_elements,), eV, float64."""

    def __init__(self, model: Student, device: torch.device | str, dtype: torch.dtype) -> None:
        whole = copy.deepcopy(model).to(torch.device(device), dtype).eval().requires_grad_(False)
        whole.saturation = None
        # The same with a network that gives zero: terms and reference energies are left.
        rest = copy.deepcopy(whole)
        rest.scale.zero_()
        self.species = whole.species_of_number
        self.kernels = [choose_kernel(each) for each in (whole, rest)]
        n = len(model.config.elements)
        self.least = torch.full((n,), math.inf, dtype=torch.float64)
        self.largest = torch.full((n,), -math.inf, dtype=torch.float64)

    def add(self, batch: AtomicBatch, edges: EdgeList) -> None:
        """Extend the ranges by a batch."""
        energies: list[Tensor] = []
        for kernel in self.kernels:
            found = kernel.evaluate(batch, edges, ("energy", "atom_energies")).atom_energies
            assert found is not None, "every kernel gives atom energies"
            energies.append(found.cpu().double())
        species = self.species[batch.atomic_numbers].cpu()
        learned = energies[0] - energies[1]
        self.least.scatter_reduce_(0, species, learned, "amin")
        self.largest.scatter_reduce_(0, species, learned, "amax")
