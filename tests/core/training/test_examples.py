from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.config import load_config, read_toml
from mlff_core.errors import InputError
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.models.checkpoint import file_sha256, load_checkpoint, save_checkpoint
from mlff_core.training.settings import TrainConfig
from mlff_core.training.state import read_state

FOLDER = Path(__file__).parents[3] / "examples" / "train"


@pytest.mark.parametrize("name", ["original", "tiny", "ultra-tiny"])
def test_the_config_of_a_shipped_student_can_be_read(name):
    config = load_config(TrainConfig, FOLDER / f"organic-{name}.toml")
    assert config.model.preset == name
    assert config.name == f"organic-{name}"
    assert not config.data.path.is_absolute()


def test_the_quickstart_trains_on_what_its_commands_make_and_every_smiles_parses():
    from rdkit import Chem

    folder = FOLDER.parent / "quickstart"
    config = load_config(TrainConfig, folder / "student.toml")
    assert (str(config.data.path), str(config.out)) == ("data.h5", "run")
    molecules = (folder / "molecules.smi").read_text().split()
    assert len(set(molecules)) == 80
    assert all(Chem.MolFromSmiles(smiles) is not None for smiles in molecules)


def test_the_three_commands_of_the_readme_run():
    root = FOLDER.parents[1]
    commands = re.findall(r"^\$ (mlff .*)$", (root / "README.md").read_text(), flags=re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["data", "train", "validate"]
    lines = [line.strip() for line in (root / ".ci" / "run").read_text().splitlines()]
    for command in commands:
        assert any(line.startswith(command) for line in lines), command


def test_an_average_has_the_mean_of_each_weight_and_names_its_members(tmp_path):
    average = runpy.run_path(str(FOLDER / "average.py"))["average"]
    paths = [tmp_path / f"{k}.pt" for k in range(3)]
    for path, hidden in zip(paths, (8, 8, 12), strict=True):
        network = PaiNN(PaiNNConfig(elements=(1, 8), hidden=hidden, n_layers=1))
        save_checkpoint(path, network, ModelCard("drop", (1, 8), 5.0))
    average(paths[:2], tmp_path / "mean.pt")
    first, second, (mean, card) = (
        *(load_checkpoint(path)[0].state_dict() for path in paths[:2]),
        load_checkpoint(tmp_path / "mean.pt"),
    )
    for name, weight in mean.state_dict().items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2)
    assert card.training["average_of"] == [file_sha256(path) for path in paths[:2]]
    with pytest.raises(InputError, match="another network"):
        average(paths, tmp_path / "other.pt")
    assert not (tmp_path / "other.pt").exists()


@pytest.mark.slow
def test_the_script_takes_all_three_to_their_end(morse_set, tmp_path):
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "mlff").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlff_core.cli "$@"\n')
    (binaries / "mlff").chmod(0o755)
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    bash, data = shutil.which("bash"), tmp_path / "data"
    data.mkdir()
    for part in ("organic.h5", "nonbonded.h5"):
        shutil.copyfile(morse_set, data / part)
    more = ["step=double-backward", "device=cpu", "model.hidden=4", "stop.max_steps=3", "loss.stress_weight=0"]
    for minutes in ("0.0001", "5"):
        command = [bash, str(FOLDER / "train_all.sh"), str(data), minutes, str(tmp_path / "runs"), *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for name in ("original", "tiny", "ultra-tiny"):
        assert read_state(tmp_path / "runs" / f"organic-{name}" / "state.pt")["place"]["is_finished"]


@pytest.mark.slow
def test_the_stages_of_a_shipped_student_are_run_again_by_one_command(morse_set, tmp_path, monkeypatch):
    name, data, runs = "organic-original", tmp_path / "data", tmp_path / "runs"
    data.mkdir()
    for part in ("organic.h5", "nonbonded.h5"):
        shutil.copyfile(morse_set, data / part)
    command = [sys.executable, str(FOLDER / "stages.py"), name, str(data), str(runs)]
    for setting in ("step=double-backward", "device=cpu", "model.hidden=4", "stop.max_steps=3", "loss.stress_weight=0"):
        command += ["--set", setting]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    lines = []
    for more in (["--minutes", "0.0001"], []):
        done = subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout.splitlines()[-1])
    assert lines == ["not finished: give the same command again", "finished"]

    recorded = read_toml(FOLDER / f"{name}.stages.toml")
    folders = [*(runs / name / f"stage{number}" for number in range(1, len(recorded["stage"]))), runs / name]
    cards = [load_checkpoint(folder / "model.pt")[1] for folder in folders]
    for before, stage, card in zip([None, *folders[:-1]], recorded["stage"], cards, strict=True):
        if "begins_with" not in stage:
            assert card.parent == ("" if before is None else file_sha256(before / "model.pt"))
        assert card.training["optimizer"]["lr"] == stage["settings"].get("optimizer.lr", 0.001)
        assert card.training["seed"] == stage["settings"].get("seed", 1)
        assert ("replay" in card.dataset) == bool(stage["second_data"])

    monkeypatch.syspath_prepend(str(FOLDER))
    ship = runpy.run_path(str(FOLDER / "ship.py"))
    averaged = load_checkpoint(runs / name / "average.pt")[1].training["average_of"]
    ship["write_stages"](runs / name, name, averaged, recipes=tmp_path, pages=tmp_path)
    again = read_toml(tmp_path / f"{name}.stages.toml")
    assert again["average_of"] == recorded["average_of"]
    assert [stage.get("begins_with") for stage in again["stage"]] == [s.get("begins_with") for s in recorded["stage"]]
    assert [stage["steps"] for stage in again["stage"]] == [3] * len(recorded["stage"])
    settings = "optimizer.lr", "loss.energy_weight", "model.core", "schedule.warmup_steps", "seed"
    for ours, theirs in zip(again["stage"], recorded["stage"], strict=True):
        for key in settings:
            assert ours["settings"].get(key) == theirs["settings"].get(key), key
