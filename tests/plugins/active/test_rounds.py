"""Active learning end to end at the smallest size: what is labelled, what is compared, what is not done twice."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_core.config import load_config
from mlff_core.data.hdf5 import Dataset
from mlff_core.data.label import label_structures
from mlff_core.data.recipe import GenerateConfig
from mlff_core.errors import InputError
from mlff_core.testing import PairPotential
from mlff_core.training.settings import TrainConfig
from mlff_plugins.active.rounds import run_active
from mlff_plugins.active.settings import ActiveConfig, SamplingSection


def config(**changes):
    sampling = SamplingSection(trajectories=3, time_ps=0.01, frame_every=2, ceiling=1e9)
    plain = {"members": 2, "rounds": 1, "frames": 4, "threshold": 1e-5, "sampling": sampling, **changes}
    return ActiveConfig(train=Path("train.toml"), teacher="pairs", test=Path("test.h5"), **plain)


def teacher():
    return PairPotential(dtype=torch.float64)


def test_both_arms_add_as_many_labels_of_the_teacher_and_are_judged_alike(folder):
    said = []
    rounds = run_active(config(), teacher, on_message=said.append)
    assert [(one.number, one.arm) for one in rounds] == [(0, "uncertain"), (1, "uncertain"), (1, "random")]
    first, unsure, control = rounds
    assert unsure.n_added == control.n_added == 4
    assert unsure.n_train == control.n_train == first.n_train + 4
    assert all(one.force_mae > 0 and 0 <= one.coverage <= 1 for one in rounds)
    for arm in ("uncertain", "random"):
        with Dataset(f"active/round-1-{arm}/labels.h5") as dataset, Dataset("active/start.h5") as start:
            added = list(dataset.structures(range(len(start), len(dataset))))
            assert {one.kind for one in added} == {"active"}
            assert {one.split for one in added} == {"train"}
            wanted = label_structures(teacher(), added).structures
            for one, other in zip(added, wanted, strict=True):
                np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)
    # Everything is there, so nothing is trained, run or labelled again.
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert run_active(config(), lambda: pytest.fail("nothing is to be labelled")) == rounds
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_frames_below_the_threshold_are_not_labelled(folder):
    with pytest.raises(InputError, match=r"none of \d+ frames is above 1e\+06 eV/Å"):
        run_active(config(threshold=1e6), teacher)


def test_other_settings_and_another_teacher_are_refused(folder):
    class Other(PairPotential):
        def __init__(self):
            super().__init__(dtype=torch.float64)
            self.card = self.card.__class__("other", self.card.elements, self.card.cutoff)

    with pytest.raises(InputError, match="was labelled by pair-potential, and the teacher given is other"):
        run_active(config(), Other)
    with pytest.raises(InputError, match=r"started with other settings \(frames\)"):
        run_active(config(frames=5), teacher)


def test_without_control_there_is_one_arm(folder):
    rounds = run_active(config(control=False), teacher)
    assert [one.arm for one in rounds] == ["uncertain", "uncertain"]


@pytest.mark.parametrize(("key", "message"), [("members=1", "members must be at least 2"), ("rounds=0", "at least 1")])
def test_impossible_settings_are_refused(folder, key, message):
    (folder / "active.toml").write_text('train = "train.toml"\nteacher = "pairs"\ntest = "test.h5"\n')
    with pytest.raises(InputError, match=message):
        load_config(ActiveConfig, "active.toml", [key])


def test_the_example_can_be_read_and_none_of_its_molecules_is_judged_on():
    examples = Path(__file__).parents[3] / "examples"
    settings = load_config(ActiveConfig, examples / "active" / "active.toml")
    training = load_config(TrainConfig, examples / "active" / settings.train)
    assert str(training.data.path) == "few.h5"
    load_config(GenerateConfig, examples / "active" / "few.toml")
    few, judged = (
        set((examples / name).read_text().split()) for name in ("active/few.smi", "train/data/test_scaffolds.smi")
    )
    assert len(few) == 60
    assert not few & judged
