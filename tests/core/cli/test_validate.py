"""``mlff validate`` on a data set file."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mlff_core.card import ModelCard
from mlff_core.cli.judging_tables import physics_table
from mlff_core.cli.main import cli
from mlff_core.data.hdf5 import LabelledStructure, write_dataset
from mlff_core.judging.physics.nve import energy_drift
from mlff_core.judging.physics.result import NVERun, PhysicsReport
from mlff_core.judging.physics.suite import _drift_checks
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.models.checkpoint import save_checkpoint


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    torch.manual_seed(0)
    config = PaiNNConfig(elements=(1, 6, 8), hidden=8, n_layers=2, n_radial=6)
    for name in ("one", "two"):
        model = PaiNN(config)
        save_checkpoint(tmp_path / f"{name}.pt", model, ModelCard(name, config.elements, config.cutoff))
    rng = np.random.default_rng(0)
    base = np.array([[0.0, 0, 0], [1.1, 0, 0], [0, 1.1, 0], [0, 0, 1.1]])
    structures = [
        LabelledStructure(
            np.array([6, 1, 8, 1]),
            base + 0.05 * rng.normal(size=(4, 3)),
            float(rng.normal()),
            rng.normal(size=(4, 3)),
            molecule_id=k // 3,
            kind="rattle",
            smiles="C=O",
            split="test" if k < 6 else "train",
        )
        for k in range(12)
    ]
    write_dataset(tmp_path / "data.h5", structures, teacher={"name": "random"})
    return tmp_path


def mlff(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_validate_prints_json_that_another_program_can_read(folder):
    result = mlff("validate", folder / "one.pt", folder / "data.h5", "--split", "test", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["n_structures"] == 6
    assert found["model"]["name"] == "one"
    assert found["force_mae"] > 0


def test_validate_prints_tables(folder):
    result = mlff("validate", folder / "one.pt", folder / "data.h5")
    assert result.exit_code == 0, result.output
    assert "12 structures of 4 molecules" in result.stdout
    assert "4 molecules are few" in result.stderr
    assert "force RMSE" in result.stdout
    assert "rattle" in result.stdout
    words = " ".join(result.stdout.split())
    assert "R² of |force|, older convention: R² over the norms of the forces, independent of their directions" in words
    assert "force R²: 1 − Σ(error²) / Σ(F − mean F)² over the Cartesian components of all atoms" in words


def test_the_older_drift_is_printed_with_its_definition_and_that_of_the_honest_one(capsys):
    times = np.linspace(0.0, 2.0, 20)
    drift = energy_drift(times, -2000.0 + 1e-4 * times, 0.1 + 0.01 * np.sin(9.0 * times), 3)
    report = PhysicsReport()
    for where in ("vacuum, float64", "vacuum, float32"):
        _drift_checks(report, [NVERun("water", "float64", False, drift)], where)
    physics_table(report)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines.count("NVE drift: gradient of a line fitted to E(t)") == 1
    older = "NVE drift, older convention: 100 |E(end) − E(0)| / |E(0)|, depends on the zero of energy"
    assert lines.count(older) == 1


def test_a_missing_file_is_one_line_and_status_1(folder):
    result = mlff("validate", folder / "one.pt", folder / "nothing.h5")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_report_is_written_and_stdout_stays_json(folder):
    out = folder / "report"
    result = mlff("validate", folder / "one.pt", folder / "data.h5", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert {entry.name for entry in out.iterdir()} == {"report.html", "forces.png", "metrics.json"}
    assert json.loads(result.stdout) == json.loads((out / "metrics.json").read_text())


def test_physics_checks_are_part_of_the_json(folder, monkeypatch):
    from mlff_core.judging.physics import suite

    # The real checks on the real student, for 50 fs instead of picoseconds.
    whole = suite.run_physics
    monkeypatch.setattr(suite, "run_physics", lambda *a, **k: whole(*a, **{**k, "length_ps": 0.01}))
    monkeypatch.setattr(suite, "N_EQUILIBRATION", 4)
    result = mlff("validate", folder / "one.pt", folder / "data.h5", "--physics", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["physics"]
    by_name = {check["name"]: check for check in found["checks"]}
    assert by_name["rotation: forces"]["passed"]
    assert by_name["jump at the cutoff: energy"]["passed"]
    assert {run["precision"] for run in found["nve"]} == {"float32", "float64"}
