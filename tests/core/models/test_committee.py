"""A committee's file is opened as a model, by path, from anywhere."""

import json
import shutil

import numpy as np
import pytest
import torch
from ase.io import read, write
from click.testing import CliRunner

import mlff_core
from mlff_core.cli.main import cli
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.label import label_structures
from mlff_core.errors import CheckpointError, InputError
from mlff_core.judging.evaluate import evaluate
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.models.committee import write_committee
from mlff_core.potentials.ensemble import Calibration, Ensemble
from mlff_core.testing import PairPotential, small_student, structures

ALL = ("energy", "forces", "energy_std", "forces_std")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    for seed in (0, 1):
        student = small_student(seed=seed)
        save_checkpoint(tmp_path / "models" / f"{seed}.pt", student.model, student.card)
    write(tmp_path / "ethanol.xyz", structures.ethanol())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mlff(*arguments, status=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result


def test_a_committees_file_is_its_members_mean_and_calibrated_spread(folder, monkeypatch):
    write_committee(folder / "c.toml", ["models/0.pt", "models/1.pt"], Calibration(2.0, 3.0))
    monkeypatch.chdir("/")  # members are found beside the file, wherever one stands
    molecule = structures.to_batch(structures.ethanol())
    found = mlff_core.load(folder / "c.toml", device="cpu", dtype="float64").predict(molecule, want=ALL)
    members = [mlff_core.load(folder / "models" / f"{k}.pt", device="cpu", dtype="float64") for k in (0, 1)]
    wanted = Ensemble(members, Calibration(2.0, 3.0)).predict(molecule, want=ALL)
    for name in ALL:
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name))


def test_another_file_in_a_members_place_is_refused(folder):
    write_committee(folder / "c.toml", ["models/0.pt", "models/1.pt"])
    student = small_student(seed=2)
    save_checkpoint(folder / "models" / "1.pt", student.model, student.card)
    with pytest.raises(CheckpointError, match=r"not the file that .* lists"):
        mlff_core.load(folder / "c.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("members = [{model = 'models/0.pt'}]", "two models at least, got 1"),
        ("members = [{model = 'a.toml'}, {model = 'models/0.pt'}]", "list its members instead"),
        ("[calibration]\nenergy = 1.0", "members is missing"),
        ("members = [{model = 'models/0.pt'}, {model = 'models/1.pt'}]\n[calibration]\nforces = -1.0", "0 or more"),
        ("members = [{file = 'models/0.pt'}]", "unknown config key"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(folder, text, message):
    (folder / "c.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        mlff_core.load(folder / "c.toml")


def test_one_model_twice_is_refused_under_any_name(folder):
    shutil.copy("models/0.pt", "models/copy.pt")
    for models in (["models/0.pt", "models/0.pt"], ["models/0.pt", "models/1.pt", "models/copy.pt"]):
        with pytest.raises(InputError, match=r"one model twice: models/0\.pt and models/"):
            write_committee(folder / "c.toml", models)
        assert "one model twice" in mlff("committee", *models, "-o", "c.toml", status=1).stderr
    assert not (folder / "c.toml").exists()
    (folder / "c.toml").write_text("members = [{model = 'models/0.pt'}, {model = 'models/copy.pt'}]")
    with pytest.raises(InputError, match="one model twice"):
        mlff_core.load(folder / "c.toml")


def test_the_command_calibrates_on_a_data_set_and_everything_opens_the_file(folder):
    random = np.random.default_rng(0)
    ethanol = structures.ethanol()
    made = [
        LabelledStructure(ethanol.numbers, ethanol.positions + random.normal(0, 0.05, (9, 3)), molecule_id=k)
        for k in range(12)
    ]
    labelled = label_structures(PairPotential(dtype=torch.float64), made, max_force=0).structures
    write_dataset(folder / "d.h5", labelled, teacher={"name": "pairs"})
    result = mlff("committee", "models/0.pt", "models/1.pt", "-o", "c.toml", "--calibrate", "d.h5", "--device", "cpu")
    assert "2 members, their spread scaled by" in result.stderr
    with Dataset(folder / "d.h5") as dataset:
        found = evaluate(mlff_core.load(folder / "c.toml", device="cpu"), dataset)
    assert found.reliability["forces"]["0.9"] == pytest.approx(0.9, abs=0.01)

    (row,) = json.loads(mlff("predict", "c.toml", "ethanol.xyz", "--json", "--device", "cpu").stdout)
    assert row["energy_std"] > 0
    assert np.shape(row["forces_std"]) == (9, 3)
    table = mlff("predict", "c.toml", "ethanol.xyz", "-o", "out.extxyz", "--device", "cpu").stdout
    assert "± eV" in table
    written = read("out.extxyz")
    assert written.info["energy_std"] == pytest.approx(row["energy_std"], rel=1e-4)
    np.testing.assert_allclose(written.arrays["forces_std"], row["forces_std"], atol=1e-6)


def test_md_stops_and_warns_above_max_uncertainty(folder):
    write_committee(folder / "c.toml", ["models/0.pt", "models/1.pt"])
    run = ["md", "c.toml", "ethanol.xyz", "--steps", "3", "--ensemble", "nve", "--temperature-kelvin", "10"]
    run += ["--device", "cpu"]
    stopped = mlff(*run, "-o", "stop", "--max-uncertainty", "1e-6", "--on-uncertain", "stop", status=1)
    assert "not sure enough" in stopped.stderr
    with pytest.warns(UserWarning, match="not sure enough"):
        warned = mlff(*run, "-o", "warn", "--max-uncertainty", "1e-6")
    assert "predictions were above the limit" in warned.stderr
    assert "0 of " in mlff(*run, "-o", "sure", "--max-uncertainty", "1e6").stderr
    many = [*run, "--replicas", "2", "-o", "many", "--max-uncertainty", "1e-6", "--on-uncertain", "stop"]
    assert "structure 1 of 2" in mlff(*many, status=1).stderr
    alone = mlff("md", "models/0.pt", *run[2:], "-o", "alone", "--max-uncertainty", "1.0", status=1)
    assert "use a committee" in alone.stderr
