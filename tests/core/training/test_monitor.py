"""Validation errors are those that a judge computes from all predictions at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.loader import BatchConfig, BatchLoader
from mlff_core.judging.evaluate import evaluate
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import single
from mlff_core.testing import small_student
from mlff_core.testing.reference_potential import PairPotential
from mlff_core.training.loss import LossConfig
from mlff_core.training.monitor import METRICS, validate


@pytest.fixture(name="crystals", scope="module")
def fixture_crystals(tmp_path_factory):
    """Twelve rattled crystals, labelled with energies, forces and stresses by a pair potential."""
    rng = np.random.default_rng(3)
    teacher = PairPotential(cutoff=4.0, dtype=torch.float64)
    cell, sites = np.diag([4.2, 4.4, 4.6]), np.array([[0.1, 0.1, 0.1], [0.6, 0.6, 0.1], [0.6, 0.1, 0.6]])
    made = []
    for k in range(12):
        positions = (sites @ cell + rng.normal(0, 0.05, (3, 3))).astype(np.float32)
        batch = single(positions, [6, 1, 8], cell, True, dtype=torch.float64)
        label = teacher.predict(batch, want=["energy", "forces", "stress"])
        made.append(
            LabelledStructure(
                atomic_numbers=np.array([6, 1, 8]),
                positions=positions,
                energy=float(label.energy[0]),
                forces=label.forces.numpy(),
                stress=label.stress[0].numpy(),
                cell=cell,
                pbc=np.ones(3, bool),
                molecule_id=k,
                split="validation",
            )
        )
    path = tmp_path_factory.mktemp("crystals") / "crystals.h5"
    write_dataset(path, made, teacher={"name": "pair-potential"}, license="CC0-1.0")
    return path


@pytest.mark.parametrize("name", ["morse_set", "crystals"])
def test_validation_errors_are_the_metrics_of_a_judge(name, request):
    student = small_student(dtype=torch.float64)
    assert isinstance(student, StudentPotential)
    path = request.getfixturevalue(name)
    with Dataset(path) as dataset:
        indices = np.arange(len(dataset))
        loader = BatchLoader(dataset, indices, student.card.cutoff, BatchConfig(atoms=20, prefetch=0), seed=None)
        batches = [item.to(student.device, student.dtype) for item in loader.epoch(0)]
        assert len(batches) > 1
        found = validate(student.model, batches, LossConfig())
        judged = evaluate(student, dataset, None).figures
    names = {*METRICS, *({"stress_mae"} if name == "crystals" else ())}
    assert found.keys() == {"loss", *names}
    # Those are rounded to six digits.
    assert {key: found[key] for key in names} == pytest.approx({key: judged[key] for key in names}, rel=1e-5)
