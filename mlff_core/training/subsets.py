"""Choice of the training and validation structures of a data set."""

from __future__ import annotations

import numpy as np

from mlff_core.data.memory import Indices
from mlff_core.data.reader import Dataset
from mlff_core.errors import InputError
from mlff_core.training.settings import DataSection


def training_and_validation(dataset: Dataset, config: DataSection) -> tuple[Indices, Indices]:
    """Return the structures to train on and to validate on, shapes (n,), ascending.

    The split of the file is used if it has one. Otherwise whole molecules are split; a set of one molecule is
    split by structures.

    Raises
    ------
    InputError
        Nothing is left to train or to validate on.
    """
    if dataset.split is not None:
        train, validation = dataset.indices("train"), dataset.indices("validation")
    else:
        molecules, member = np.unique(dataset.molecule_id, return_inverse=True)
        del dataset.molecule_id  # one number per structure, not needed again
        if len(molecules) == 1:
            member, molecules = np.arange(len(dataset)), np.arange(len(dataset))
        order = np.random.default_rng([config.split_seed, 7]).permutation(len(molecules))
        n_validation = max(1, round(config.validation_fraction * len(molecules)))
        n_test = round(config.test_fraction * len(molecules))
        part = np.zeros(len(molecules), dtype=np.int8)
        part[order[:n_validation]] = 1
        part[order[n_validation : n_validation + n_test]] = 2
        train, validation = np.flatnonzero(part[member] == 0), np.flatnonzero(part[member] == 1)
    for name, indices in (("train", train), ("validate", validation)):
        if len(indices) == 0:
            raise InputError(f"{dataset.path} has no structures to {name} on: check its split, or the fractions")
    generator = np.random.default_rng([config.split_seed, 8])
    return _some(train, config.max_structures, generator), _some(validation, config.max_validation, generator)


def _some(indices: Indices, most: int | None, generator: np.random.Generator) -> Indices:
    if most is None or len(indices) <= most:
        return indices
    return np.sort(generator.choice(indices, most, replace=False))
