from dataclasses import replace

import pytest
from click.testing import CliRunner

pytest.importorskip("so3krates_torch")

from mlff_core.cli.main import build
from mlff_core.data.reader import Dataset
from mlff_core.training.settings import StopSection
from mlff_plugins.demo import pipeline as demo
from mlff_plugins.demo.command import command


@pytest.fixture
def short(monkeypatch):
    """The demo with few frames and little training: all its stages, and a student with large errors."""
    monkeypatch.setattr(demo, "N_TRAJECTORIES", 6)
    monkeypatch.setattr(demo, "FRAMES_EACH", 3)
    monkeypatch.setattr(demo, "STEPS_BETWEEN", 2)
    monkeypatch.setattr(demo, "N_MD_STEPS", 20)
    full = demo.training

    def hardly_any(dataset, out):
        return replace(full(dataset, out), stop=StopSection(max_steps=4))

    monkeypatch.setattr(demo, "training", hardly_any)


def test_a_student_that_is_not_good_is_reported_and_the_exit_status_is_1(short, tmp_path):
    out = tmp_path / "demo"
    result = CliRunner().invoke(command, ["--out", str(out)])
    assert result.exit_code == 1, result.output
    assert "force R², by component" in result.stdout
    assert "below 0.9" in result.stderr
    assert {path.name for path in out.iterdir()} >= {
        "model.pt",
        "ethanol-so3lr.h5",
        "validation.json",
        "md",
        "training",
    }
    with Dataset(out / "ethanol-so3lr.h5") as dataset:
        assert dataset.teacher["name"] == "so3lr"
        assert len(dataset.indices("test")) == 2 * 3
        assert not set(dataset.indices("train")) & set(dataset.indices("test"))


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    result = CliRunner().invoke(build(), ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "is not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow  # a minute and a half of processor time
def test_the_demo_ends_with_a_good_student(tmp_path):
    result = CliRunner().invoke(command, ["--out", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
