"""The domain of a trained model, measured on its training data."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlff_core.data.loader import BatchConfig, BatchLoader
from mlff_core.data.memory import Indices
from mlff_core.data.reader import Dataset
from mlff_core.domain import Domain
from mlff_core.errors import InputError
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.electrons import odd_system
from mlff_core.structures.neighbors import EdgeList, edge_vectors

MAX_ATOMS = 250_000
"""Number of atoms of each set on which a run measures the domain after training; this takes seconds."""

MIN_STRUCTURES = 1000
"""Least number of structures for a domain: the extremes of fewer say too little."""


def measured_domain(
    potential: StudentPotential, sets: Iterable[tuple[Dataset, Indices]], batch: BatchConfig | None = None
) -> Domain:
    """Return the domain of a student, measured on labelled structures.

    Parameters
    ----------
    potential
        The student after training.
    sets
        Data sets, each with the indices of the structures to use, shape (n_structures,), int64.
    batch
        How structures are put into batches.

    Raises
    ------
    InputError
        There are no structures.
    """
    ranges = _Ranges(potential)
    for dataset, indices in sets:
        if len(indices) == 0:
            continue
        loader = BatchLoader(dataset, indices, potential.card.cutoff, batch, seed=None)
        with contextlib.closing(loader.epoch(0)) as batches:
            for item in batches:
                moved = item.to(potential.device, potential.dtype)
                ranges.add(moved.labels.batch, moved.edges, moved.labels.forces)
    return ranges.domain()


def sampled(dataset: Dataset, indices: Indices, seed: int, max_atoms: int = MAX_ATOMS) -> Indices:
    """Return the indices of structures drawn at random, in ascending order, shape (n_sampled,), int64.

    Parameters
    ----------
    dataset
        The set.
    indices
        Indices of the structures to draw from, shape (n_structures,), int64.
    seed
        Random seed.
    max_atoms
        Largest total number of atoms; at least one structure is drawn.
    """
    drawn: Indices = np.random.default_rng([seed, 0xD0]).permutation(np.asarray(indices))
    total = np.cumsum(dataset.n_atoms_of(drawn))
    return np.sort(drawn[: max(1, int(np.searchsorted(total, max_atoms, side="right")))])


def write_domain(
    path: Path,
    sets: Sequence[tuple[Dataset, Indices]],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch: BatchConfig | None = None,
) -> None:
    """Measure the domain of the student in a model file, and write the file again with the domain on its card.

    Parameters
    ----------
    path
        The model file.
    sets, batch
        See :func:`measured_domain`.
    device, dtype
        Device and precision of the computation.
    """
    model, card = load_checkpoint(path)
    # A copy of its own: a potential moves its network to the precision it computes in.
    potential = StudentPotential(copy.deepcopy(model), card, device=device, dtype=dtype)
    domain = measured_domain(potential, sets, batch)
    data = [{"name": dataset.path.name, "sha256": dataset.sha256()} for dataset, _ in sets]
    save_checkpoint(path, model, replace(card, domain={**domain.to_dict(), "data": data}))


class _Ranges:
    """Ranges that are extended with every batch."""

    def __init__(self, potential: StudentPotential) -> None:
        self.potential = potential
        model = potential.model
        self.elements = potential.card.elements
        n = len(self.elements)
        self.species = model.species_of_number
        self.reference = model.reference_energies
        self.least = torch.full((n,), float("inf"), dtype=torch.float64, device=potential.device)
        self.largest = torch.full((n,), -float("inf"), dtype=torch.float64, device=potential.device)
        self.distances = torch.full((n * n,), float("inf"), dtype=potential.dtype, device=potential.device)
        self.force = 0.0
        self.is_even = True
        self.pure: set[int] = set()
        self.n_structures = 0

    def add(self, batch: AtomicBatch, edges: EdgeList, forces: Tensor) -> None:
        """Extend the ranges by structures with the forces of their labels, shape (n_atoms, 3), eV/Å."""
        found = self.potential.predict_checked(batch, frozenset({"energy", "atom_energies"}), edges)
        species = self.species[batch.atomic_numbers]
        learned = found.need("atom_energies", self.potential.card.name).double() - self.reference.double()[species]
        self.least.scatter_reduce_(0, species, learned, "amin")
        self.largest.scatter_reduce_(0, species, learned, "amax")
        lengths = torch.linalg.vector_norm(edge_vectors(batch, edges), dim=1)
        pairs = species[edges.centers] * len(self.elements) + species[edges.neighbors]
        self.distances.scatter_reduce_(0, pairs, lengths, "amin")
        self.force = max(self.force, float(forces.abs().nan_to_num(nan=0.0).max()))
        self.is_even = self.is_even and odd_system(batch) is None
        ends = [
            batch.atomic_numbers.new_zeros(batch.n_systems).scatter_reduce_(
                0, batch.system_idx, batch.atomic_numbers, how, include_self=False
            )
            for how in ("amin", "amax")
        ]
        self.pure.update(ends[0][ends[0] == ends[1]].unique().tolist())
        self.n_structures += batch.n_systems

    def domain(self) -> Domain:
        """Return the domain measured so far; elements that no structure has are left out."""
        if self.n_structures == 0:
            raise InputError("no structures to measure the domain of the model on; give a data set with structures")
        ends = zip(self.elements, self.least.tolist(), self.largest.tolist(), strict=True)
        seen = {z: (round(least, 4), round(largest, 4)) for z, least, largest in ends if least <= largest}
        reference = dict(zip(self.elements, self.reference.double().tolist(), strict=True))
        table = self.distances.view(len(self.elements), -1).double().tolist()
        distances = {
            (a, b): round(table[i][k], 4)
            for i, a in enumerate(self.elements)
            for k, b in enumerate(self.elements)
            if a <= b and table[i][k] < float("inf")
        }
        return Domain(
            atom_energies=seen,
            reference_energies={z: reference[z] for z in seen},
            distances=distances,
            largest_force=round(self.force, 4),
            is_even=self.is_even,
            n_structures=self.n_structures,
            pure=frozenset(self.pure),
        )
