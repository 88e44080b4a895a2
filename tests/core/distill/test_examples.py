from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlff_core.config import load_config
from mlff_core.distill.settings import TrainConfig
from mlff_core.distill.state import read_state

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


def test_the_three_commands_of_the_readme_are_run_before_every_merge():
    root = FOLDER.parents[1]
    commands = re.findall(r"^\$ (mlff .*)$", (root / "README.md").read_text(), flags=re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["data", "train", "validate"]
    lines = [line.strip() for line in (root / ".ci" / "run").read_text().splitlines()]
    for command in commands:
        assert any(line.startswith(command) for line in lines), command


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
    more = ["step=double-backward", "device=cpu", "model.hidden=4", "stop.max_steps=3"]
    for minutes in ("0.0001", "5"):
        command = [bash, str(FOLDER / "train_all.sh"), str(data), minutes, str(tmp_path / "runs"), *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for name in ("original", "tiny", "ultra-tiny"):
        assert read_state(tmp_path / "runs" / f"organic-{name}" / "state.pt")["place"]["is_finished"]
