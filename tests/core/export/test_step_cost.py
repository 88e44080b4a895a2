"""What `mlff export` says of the cost of a step, in both forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import mlff_core.export.step_cost as step_cost
from mlff_core import load
from mlff_core.cli.main import build
from mlff_core.export.step_cost import cost_line, step_costs
from mlff_core.kernels.operator_library import load_operators

MODEL = "organic-ultra-tiny"


def test_the_fused_form_is_the_faster_one_of_the_same_step() -> None:
    load_operators()
    costs = step_costs(load(MODEL, kernel="reference", guard="off"))
    assert costs["n_atoms"] == 48
    assert 0 < costs["fused_ms"] < costs["portable_ms"]
    assert "operator=fused" in cost_line(costs)


def test_without_its_library_nothing_is_compiled_and_the_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cost, "is_built", lambda: False)
    costs = step_costs(load(MODEL, kernel="reference", guard="off"))
    assert costs["fused_ms"] is None
    assert "`mlff operators`" in cost_line(costs)


def test_the_command_reports_the_cost_as_json(tmp_path: Path) -> None:
    path = tmp_path / "model.ts"
    done = CliRunner().invoke(build(), ["export", MODEL, "--format", "torchscript", "-o", str(path), "--json"])
    assert done.exit_code == 0, done.output
    costs = json.loads(done.stdout)["step_cost"]
    assert costs["portable_ms"] > 0
    assert costs["n_threads"] == torch.get_num_threads()
