"""A start for active learning at the smallest size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlff_core.data.hdf5 import LabelledStructure, write_dataset
from mlff_core.data.label import label_structures
from mlff_core.testing import PairPotential, structures

TRAIN = """
device = "cpu"
[model]
preset = "ultra-tiny"
hidden = 8
n_layers = 1
[data]
path = "start.h5"
[batch]
atoms = 60
[stop]
max_steps = 12
"""


def write_labelled(path, n, seed):
    random = np.random.default_rng(seed)
    ethanol = structures.ethanol()
    made = [
        LabelledStructure(
            ethanol.numbers,
            ethanol.positions + random.normal(0, 0.05, (9, 3)),
            molecule_id=k % 10,
            kind="rattle",
        )
        for k in range(n)
    ]
    labelled = label_structures(PairPotential(dtype=torch.float64), made, max_force=0).structures
    write_dataset(path, labelled, teacher={"name": "pair-potential"}, smiles=["CCO"] * 10)


def write_start(folder):
    write_labelled(folder / "start.h5", 40, 0)
    write_labelled(folder / "test.h5", 20, 1)
    (folder / "train.toml").write_text(TRAIN)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: settings of the training, what it starts from and what every round is judged on."""
    monkeypatch.chdir(write_start(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    """The same for all tests of a module; nothing works there yet."""
    return write_start(tmp_path_factory.mktemp("active"))
