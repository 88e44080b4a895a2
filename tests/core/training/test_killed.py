"""A run in its own process, killed without warning, and runs in several processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_core.models.checkpoint import load_checkpoint
from mlff_core.training.log import read_log
from mlff_core.training.state import read_state

CONFIG = """
name = "small"
device = "cpu"
[model]
preset = "ultra-tiny"
hidden = 8
[data]
path = "{data}"
[batch]
atoms = {atoms}
[schedule]
warmup_steps = 5
[stop]
max_steps = {steps}
[log]
every_steps = 7
validate_every_steps = 25
save_every_minutes = {save}
"""
pytestmark = pytest.mark.timeout(900)  # several processes, each of which imports torch
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
MLFF = [sys.executable, "-c", "from mlff_core.cli.main import main; main()"]


def _config(path: Path, data: Path, *, steps: int, atoms: int = 60, save: float = 0.0) -> Path:
    path.write_text(CONFIG.format(data=data, steps=steps, atoms=atoms, save=save))
    return path


def _train(config: Path, out: Path, *more: str) -> subprocess.Popen:
    command = [*MLFF, "train", str(config), "--resume", "--out", str(out), *more]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _same(first: dict, second: dict) -> bool:
    return all(torch.equal(first[key][name], second[key][name]) for key in ("model", "average") for name in first[key])


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_and_resumed_ends_with_the_same_weights(morse_set, tmp_path, kills):
    n_steps = 20 + 20 * kills
    config = _config(tmp_path / "config.toml", morse_set, steps=n_steps)
    out, alone = tmp_path / "killed", tmp_path / "alone"
    chance = random.Random(kills)
    steps = []
    for _ in range(kills):
        before = steps[-1] if steps else 0
        process = _train(config, out)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (out / "state.pt").exists() and read_state(out / "state.pt")["place"]["step"] > before + 5:
                break
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        steps.append(read_state(out / "state.pt")["place"]["step"])
    assert 0 < steps[0] <= steps[-1] <= n_steps
    for folder in (out, alone):
        process = _train(config, folder)
        _, output = process.communicate(timeout=200)
        assert process.returncode == 0, output
    first, second = read_state(out / "state.pt"), read_state(alone / "state.pt")
    assert first["place"]["step"] == second["place"]["step"] == n_steps
    assert _same(first, second)
    models = [load_checkpoint(folder / "model.pt")[0].state_dict() for folder in (out, alone)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    logs = [np.genfromtxt(folder / "log.csv", delimiter=",", names=True) for folder in (out, alone)]
    np.testing.assert_array_equal(logs[0]["step"], logs[1]["step"])
    np.testing.assert_array_equal(logs[0]["loss"], logs[1]["loss"])


def test_ctrl_c_saves_the_state(morse_set, tmp_path):
    config = _config(tmp_path / "config.toml", morse_set, steps=100_000, save=60.0)
    process = _train(config, tmp_path / "run")
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    saved = read_state(tmp_path / "run" / "state.pt")["place"]["step"]
    while (
        not any(row["step"] > saved for row in read_log(tmp_path / "run" / "log.csv")) and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "continue with --resume" in output
    assert read_state(tmp_path / "run" / "state.pt")["place"]["step"] > saved


@pytest.mark.parametrize("step", ["auto", pytest.param("double-backward", marks=pytest.mark.slow)])
def test_two_processes_take_the_steps_of_one(morse_set, tmp_path, step):
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    more = ["--set", "precision=float64", "--set", f"step={step}", "--fresh"]
    one = _train(_config(tmp_path / "one.toml", morse_set, steps=30, atoms=60), tmp_path / "one", *more)
    _, output = one.communicate(timeout=120)
    assert one.returncode == 0, output
    config = _config(tmp_path / "two.toml", morse_set, steps=30, atoms=30)
    script = tmp_path / "train.py"
    script.write_text("from mlff_core.cli.main import main\nmain()\n")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*torchrun, "train", str(config), "--out", str(tmp_path / "two"), *more],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model.pt") == 1
    first, second = (read_state(tmp_path / name / "state.pt") for name in ("one", "two"))
    assert first["place"]["step"] == second["place"]["step"] == 30
    assert first["place"]["best"] == pytest.approx(second["place"]["best"], rel=1e-9)
    for name, value in first["model"].items():
        torch.testing.assert_close(value, second["model"][name], rtol=1e-7, atol=1e-9)
