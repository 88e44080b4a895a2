"""The demo of a material, with effective medium theory in the teacher's place: all its stages on few structures."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from mlff_core.cli.main import build
from mlff_core.data.reader import Dataset
from mlff_core.errors import MissingDependencyError
from mlff_core.plugins import host
from mlff_core.training.settings import StopSection
from mlff_plugins.demo import material as demo
from mlff_plugins.demo import material_table


@pytest.fixture(name="short")
def fixture_short(monkeypatch):
    monkeypatch.setattr(demo, "DRAWS", {"minimum": None, "lattice": 6, "thermal": 6, "surface": 4})
    full = demo.training

    def hardly_any(dataset, out, symbol):
        return replace(full(dataset, out, symbol), stop=StopSection(max_steps=30))

    monkeypatch.setattr(demo, "training", hardly_any)


def test_a_student_of_copper_is_made_and_judged(short, tmp_path):
    teacher = host.teacher("ase:ase.calculators.emt.EMT").load({})
    said, batches = [], []
    result = demo.run_material(
        tmp_path / "out", "Cu", say=said.append, sampled=lambda *n: batches.append(n), teacher=teacher
    )
    assert len(said) == 3
    assert batches[-1] == (3, 3)
    assert result.teacher.values["lattice_constant"] == pytest.approx(3.59, abs=0.01)
    with Dataset(tmp_path / "out" / f"Cu-{teacher.card.name}.h5") as dataset:
        assert result.n_train == len(dataset.indices("train")) > 30
        assert result.n_test == len(dataset.indices("test")) > 0
        assert not set(dataset.indices("train")) & set(dataset.indices("test"))
        assert dataset.structure(0).stress is not None
    judged = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert judged["models"][1]["crystals"]["Cu"] == result.teacher.values
    shown = material_table.table(result)
    assert shown.row_count > 4
    assert "judge.json" in material_table.next_steps(result)


def test_without_sevennet_the_demo_says_what_to_install(monkeypatch, tmp_path):
    def missing(self):
        raise MissingDependencyError("sevenn is not installed; pip install sevenn")

    monkeypatch.setattr(type(host.teacher("sevennet")), "ensure_installed", missing)
    result = CliRunner().invoke(build(), ["demo", "--material", "Cu", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "pip install sevenn" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_element_without_a_crystal_is_refused(tmp_path):
    result = CliRunner().invoke(build(), ["demo", "--material", "Xe", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "'Cu'" in result.stderr


@pytest.mark.slow  # four minutes of processor time
def test_the_demo_ends_with_a_good_student(tmp_path):
    pytest.importorskip("sevenn")
    result = CliRunner().invoke(build(), ["demo", "--material", "Cu", "--out", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
