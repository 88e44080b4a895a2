from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mlff_core.cli.main import cli
from mlff_core.data.hdf5 import LabelledStructure, write_dataset
from mlff_core.models.checkpoint import load_checkpoint

CONFIG = """
device = "cpu"
[model]
preset = "ultra-tiny"
hidden = 4
[data]
path = "water.h5"
[stop]
max_steps = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a config and a data set of 20 structures, made the current one."""
    generator = np.random.default_rng(0)
    water = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    structures = [
        LabelledStructure(
            atomic_numbers=np.array([8, 1, 1]),
            positions=(water + generator.normal(0, 0.05, (3, 3))).astype(np.float32),
            energy=-2000.0,
            forces=np.zeros((3, 3), dtype=np.float32),
            molecule_id=0,
        )
        for _ in range(20)
    ]
    write_dataset(tmp_path / "water.h5", structures, teacher={"name": "none"})
    (tmp_path / "config.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli, ["train", *arguments])


def test_a_config_becomes_a_model(folder):
    done = run("config.toml", "--out", "first")
    assert done.exit_code == 0, done.output
    assert done.stdout == "first/model.pt\n"
    assert {path.name for path in (folder / "first").iterdir()} == {"config.toml", "model.pt", "state.pt", "log.csv"}


def test_the_command_leaves_small_numbers_to_its_caller(folder):
    assert run("config.toml", "--out", "first").exit_code == 0
    assert np.float64(1e-310) * np.float64(0.5) > 0


def test_json_has_the_result(folder):
    done = run("config.toml", "--json", "--set", "stop.max_steps=2", "--set", "out=second")
    result = json.loads(done.stdout)
    assert (result["status"], result["steps"], result["model"]) == ("finished", 2, "second/model.pt")
    assert result["metrics"]["force_mae"] >= 0


def test_a_run_in_the_way_is_resumed_or_begun_anew_when_asked(folder):
    assert run("config.toml").exit_code == 0
    refused = run("config.toml")
    assert refused.exit_code == 1
    assert "--resume continues it, --fresh starts again" in refused.stderr
    assert run("config.toml", "--resume", "--set", "stop.max_steps=5").exit_code == 0
    assert run("config.toml", "--fresh").exit_code == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=fast", "config key optimizer.lr must be a number, got 'fast'"),
        ("optimizer.rate=1", "unknown config key optimizer.rate; did you mean optimizer.lr?"),
        ("stop.max_steps=0", "[stop] max_steps must be at least 1, got 0"),
        (
            "precision=float16",
            "config key precision must be one of 'float32', 'float64', 'tf32', 'bf16', got 'float16'",
        ),
        ("model.preset=huge", "[model] preset must be one of original, tiny, ultra-tiny, got 'huge'"),
        ("data.path=nothing.h5", "there is no data set file nothing.h5"),
        ("device=abacus", "device 'abacus' cannot be used"),
    ],
)
def test_an_impossible_config_says_key_value_and_what_is_allowed(folder, override, message):
    done = run("config.toml", "--set", override)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_resume_with_a_larger_stop_goes_on_and_says_so(folder):
    assert run("config.toml", "--out", "first").exit_code == 0
    more = run("config.toml", "--out", "first", "--resume", "--set", "stop.max_steps=5", "--json")
    assert more.exit_code == 0, more.output
    assert json.loads(more.stdout)["steps"] == 5
    assert "resuming first at step 3" in more.stderr
    assert "max_steps = 5" in (folder / "first" / "config.toml").read_text()


@pytest.mark.parametrize("steps", [3, 2])
def test_resume_of_a_run_that_ended_says_so_and_leaves_its_files(folder, steps):
    assert run("config.toml", "--out", "first").exit_code == 0
    files = [folder / "first" / name for name in ("config.toml", "model.pt", "state.pt")]
    before = [path.read_bytes() for path in files]
    again = run("config.toml", "--out", "first", "--resume", "--set", f"stop.max_steps={steps}")
    assert again.exit_code == 0
    assert "had ended; to go on, raise the limit in [stop] that ended it" in again.stderr
    assert [path.read_bytes() for path in files] == before


def test_the_last_line_has_the_errors_of_the_file(folder):
    done = run("config.toml", "--out", "first", "--set", "log.validate_every_steps=1")
    _, card = load_checkpoint(folder / "first" / "model.pt")
    last = done.stderr.splitlines()[-1]
    metrics = card.metrics["validation"]
    assert f"force MAE {metrics['force_mae']:.4f} eV/Å" in last
    assert f"energy MAE {metrics['energy_mae_mev_per_atom']:.2f} meV/atom" in last
    assert f"best at step {card.training['done']['steps']}," in last


@pytest.mark.parametrize("term", ["stress", "atom_energies", "hessian"])
def test_a_term_without_labels_is_refused(folder, term):
    done = run("config.toml", "--out", "first", "--set", f"loss.{term}_weight=1.0")
    assert done.exit_code == 1
    assert f"Error: loss.{term}_weight = 1, but water.h5 has no such labels" in done.stderr
    assert not (folder / "first").exists()
