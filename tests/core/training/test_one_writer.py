"""A run's folder belongs to one process at a time."""

import pytest

from mlff_core.atomic_write import one_writer
from mlff_core.config import from_dict
from mlff_core.errors import InputError
from mlff_core.training.trainer import TrainConfig, Trainer


def test_a_run_of_another_process_is_not_resumed(morse_set, tmp_path):
    plain = {"data": {"path": str(morse_set)}, "out": str(tmp_path / "run"), "stop": {"max_steps": 2}}
    trainer = Trainer(from_dict(TrainConfig, plain))
    with one_writer(tmp_path / "run"):
        with pytest.raises(InputError, match="run is being written by process"):
            trainer.fit(resume=True)
        assert not (tmp_path / "run").exists()
