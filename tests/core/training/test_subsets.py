from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.errors import InputError
from mlff_core.training.settings import DataSection
from mlff_core.training.subsets import training_and_validation


@pytest.fixture
def unsplit(tmp_path):
    """Write 40 structures of ``n_molecules`` molecules without a split; return the data set."""

    def write(n_molecules: int) -> Dataset:
        structures = [
            LabelledStructure(
                atomic_numbers=np.array([1]),
                positions=np.zeros((1, 3), dtype=np.float32),
                energy=0.0,
                forces=np.zeros((1, 3), dtype=np.float32),
                molecule_id=k % n_molecules,
            )
            for k in range(40)
        ]
        write_dataset(tmp_path / "set.h5", structures, teacher={"name": "none"})
        return Dataset(tmp_path / "set.h5")

    return write


def test_the_split_of_the_file_is_used(morse_set):
    dataset = Dataset(morse_set)
    train, validation = training_and_validation(dataset, DataSection(path=morse_set, validation_fraction=0.5))
    assert train.tolist() == dataset.indices("train").tolist()
    assert validation.tolist() == dataset.indices("validation").tolist()


def test_a_molecule_is_on_one_side_only(unsplit):
    dataset = unsplit(10)
    config = DataSection(path=Path("x"), validation_fraction=0.2, test_fraction=0.1)
    train, validation = training_and_validation(dataset, config)
    assert (len(train), len(validation)) == (28, 8)
    assert not set(dataset.molecule_id[train]) & set(dataset.molecule_id[validation])


def test_another_seed_splits_differently(unsplit):
    dataset = unsplit(10)
    divisions = {
        tuple(training_and_validation(dataset, DataSection(path=Path("x"), split_seed=seed))[1]) for seed in range(4)
    }
    assert len(divisions) > 1


def test_a_set_of_one_molecule_is_split_by_structures(unsplit):
    train, validation = training_and_validation(unsplit(1), DataSection(path=Path("x")))
    assert (len(train), len(validation)) == (32, 4)


def test_fewer_structures_are_drawn_from_the_same_split(unsplit):
    dataset = unsplit(10)
    few, _ = training_and_validation(dataset, DataSection(path=Path("x"), max_structures=5, max_validation=2))
    train, _ = training_and_validation(dataset, DataSection(path=Path("x")))
    assert len(few) == 5
    assert set(few) <= set(train)


def test_nothing_to_train_on_is_refused(unsplit):
    with pytest.raises(InputError, match="no structures to train on"):
        training_and_validation(unsplit(2), DataSection(path=Path("x"), validation_fraction=0.4, test_fraction=0.5))
