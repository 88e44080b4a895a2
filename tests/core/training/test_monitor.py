"""Validation errors equal the metrics computed from all predictions at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlff_core.data.hdf5 import Dataset
from mlff_core.data.loader import BatchConfig, BatchLoader
from mlff_core.judging.evaluate import evaluate
from mlff_core.potentials.student import StudentPotential
from mlff_core.testing import small_student
from mlff_core.training.loss import LossConfig
from mlff_core.training.monitor import METRICS, validate


@pytest.mark.parametrize("name", ["morse_set", "crystals"])
def test_validation_errors_are_the_metrics_of_an_evaluation(name, request):
    student = small_student(dtype=torch.float64)
    assert isinstance(student, StudentPotential)
    path = request.getfixturevalue(name)
    with Dataset(path) as dataset:
        indices = np.arange(len(dataset))
        loader = BatchLoader(dataset, indices, student.card.cutoff, BatchConfig(atoms=20, prefetch=0), seed=None)
        batches = [item.to(student.device, student.dtype) for item in loader.epoch(0)]
        assert len(batches) > 1
        found = validate(student.model, batches, LossConfig())
        judged = evaluate(student, dataset, None).metrics
    names = {*METRICS, *({"stress_mae"} if name == "crystals" else ())}
    assert found.keys() == {"loss", *names}
    # Those are rounded to six digits.
    assert {key: found[key] for key in names} == pytest.approx({key: judged[key] for key in names}, rel=1e-5)
