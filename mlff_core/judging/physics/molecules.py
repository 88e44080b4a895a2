"""Choice of molecules of a data set for the physics checks."""

from __future__ import annotations

import numpy as np
import torch

from mlff_core.data.hdf5 import Dataset
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch


def choose_molecules(
    dataset: Dataset, split: str | None, potential: Potential, *, n: int = 2, max_atoms: int = 26
) -> dict[str, AtomicBatch]:
    """Return molecules of a data set to run the checks on, by name, from small to large.

    Minima are used if the set marks them; molecules never have a cell.

    Raises
    ------
    InputError
        No molecule of the split is small enough and has only supported elements.
    """
    indices = dataset.indices(split)
    counts = dataset.atoms_per_structure[indices]
    fits = (counts <= max_atoms) & (counts >= 3)
    if "minimum" in dataset.kinds:
        minima = dataset.kind[indices] == dataset.kinds.index("minimum")
        fits = fits & minima if (fits & minima).any() else fits
    candidates = indices[fits][np.argsort(counts[fits], kind="stable")]
    chosen: dict[str, AtomicBatch] = {}
    molecules: set[int] = set()
    for quantile in np.linspace(0.0, 1.0, n):
        # From the quantile upwards, then downwards: the first that is supported.
        start = round(quantile * (len(candidates) - 1)) if len(candidates) else 0
        for k in [*range(start, len(candidates)), *range(start - 1, -1, -1)]:
            structure = dataset.structure(int(candidates[k]))
            molecule = int(np.asarray(dataset.molecule_id)[candidates[k]])
            known = set(structure.atomic_numbers.tolist()) <= set(potential.card.elements)
            if known and not structure.is_periodic and molecule not in molecules:
                molecules.add(molecule)
                name = structure.smiles or f"structure {candidates[k]}"
                chosen[name] = dataset.read([int(candidates[k])], dtype=torch.float64).batch
                break
    if not chosen:
        raise InputError(
            f"{dataset.path} has no molecule of 3 to {max_atoms} atoms whose elements {potential.card.name} supports"
        )
    return chosen
