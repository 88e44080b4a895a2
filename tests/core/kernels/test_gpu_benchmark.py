"""The GPU benchmark works where there is no GPU, and survives what fails in it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("a dry run is for machines without a GPU", allow_module_level=True)

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return module


def run(module, monkeypatch, folder, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(folder), *arguments])
    code = module.main()
    return code, json.loads((folder / "gpu.json").read_text())


def test_a_dry_run_checks_the_kernels(gpu, monkeypatch, tmp_path):
    code, record = run(gpu, monkeypatch, tmp_path, "--dry-run", "--sections", "finite_differences,training")
    assert code == 0
    assert record["machine"]["dry_run"] is True
    assert record["sections"]["finite_differences"]["rows"]["forces"]["ok"] is True
    assert record["sections"]["training"]["finite-difference"]["atoms_per_s"] > 0
    assert "error" not in record["sections"]["training"]["double-backward"]


def test_a_section_that_fails_is_recorded_and_the_next_one_runs(gpu, monkeypatch, tmp_path):
    def breaks(bench):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(gpu, "SECTIONS", {"breaks": breaks, "works": lambda bench: {"ok": True}})
    code, record = run(gpu, monkeypatch, tmp_path, "--dry-run", "--sections", "breaks,works")
    assert code == 1
    assert "no memory left" in record["sections"]["breaks"]["error"]
    assert record["sections"]["works"]["ok"] is True


def test_a_wrong_number_fails_and_nan_is_wrong(gpu):
    assert gpu._checked({"a": {"error": 1e-7, "limit": 1e-6}})["ok"]
    assert not gpu._checked({"a": {"error": 1e-5, "limit": 1e-6}})["ok"]
    assert not gpu._checked({"a": {"error": float("nan"), "limit": 1e-6}})["ok"]


def test_without_a_gpu_a_dry_run_must_be_asked_for(gpu, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(gpu, monkeypatch, tmp_path)
    assert "no CUDA GPU is here" in capsys.readouterr().err


@pytest.mark.slow  # the interpreter takes minutes
def test_every_section_runs_dry(gpu, monkeypatch, tmp_path):
    code, record = run(gpu, monkeypatch, tmp_path, "--dry-run")
    assert code == 0
    assert set(record["sections"]) == set(gpu.SECTIONS)
