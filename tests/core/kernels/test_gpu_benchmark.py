"""The GPU benchmark works where there is no GPU, and survives what fails in it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("a dry run is for machines without a GPU", allow_module_level=True)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return importlib.import_module("benchmarks.speed.gpu")


@pytest.fixture
def parts(gpu):
    return importlib.import_module("benchmarks.speed.gpu_sections.bench")


def run(module, monkeypatch, folder, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(folder), *arguments])
    code = module.main()
    return code, json.loads((folder / "gpu.json").read_text())


def test_a_dry_run_checks_the_kernels(gpu, monkeypatch, tmp_path):
    code, record = run(gpu, monkeypatch, tmp_path, "--dry-run", "--sections", "finite_differences,training")
    assert code == 0
    assert record["machine"]["dry_run"] is True
    assert record["sections"]["finite_differences"]["rows"]["forces"]["ok"] is True
    assert record["sections"]["training"]["finite-difference, float32, 100 structures"]["atoms_per_s"] > 0
    assert "error" not in record["sections"]["training"]["double-backward, float32, 100 structures"]


def test_a_section_that_fails_is_recorded_and_the_next_one_runs(gpu, parts, monkeypatch, tmp_path):
    def breaks(bench, result):
        raise RuntimeError("no memory left")

    def works(bench, result):
        parts.check(result, "a", 0.0, 0.0)

    monkeypatch.setattr(gpu, "SECTIONS", {"breaks": (breaks, 0.5), "works": (works, 0.5)})
    code, record = run(gpu, monkeypatch, tmp_path, "--dry-run", "--sections", "breaks,works")
    assert code == 1
    assert "no memory left" in record["sections"]["breaks"]["error"]
    assert record["sections"]["works"]["ok"] is True


def test_a_section_ends_with_its_time_and_keeps_what_it_has(gpu, monkeypatch, tmp_path):
    def slow(bench, result):
        result["first"] = bench.wall_ms(lambda: None, 2)
        while True:
            bench.check()

    def deaf(bench, result):
        while True:
            pass

    monkeypatch.setattr(gpu, "GRACE_S", 0.1)
    monkeypatch.setattr(gpu, "SECTIONS", {"slow": (slow, 0.1), "deaf": (deaf, 0.1), "late": (slow, 1.0)})
    code, record = run(gpu, monkeypatch, tmp_path, "--dry-run", "--budget-s", "2")
    assert code == 1
    assert record["sections"]["slow"]["first"]["median_ms"] >= 0
    assert {section["error"] for section in record["sections"].values()} == {"its time was over"}


def test_a_measurement_stops_where_the_time_is_over(parts):
    bench = parts.Bench(dry=True)
    bench.dry = False
    steps = iter(range(10**9))

    def step():
        if next(steps) == 25:
            bench.deadline = 0.0

    assert bench.wall_ms(step, 1000)["repeats"] == 21  # after five that warm up
    with pytest.raises(parts.OutOfTimeError):
        bench.wall_ms(step, 1000)


def test_a_wrong_number_fails_and_nan_is_wrong(parts):
    result = {}
    for name, error in (("good", 1e-7), ("bad", 1e-5), ("nan", float("nan"))):
        parts.check(result, name, error, 1e-6)
    assert [row["ok"] for row in result["rows"].values()] == [True, False, False]


def test_what_was_measured_is_held_against_the_targets(gpu):
    rows = gpu.compared({"latency": {"float32": {"median_ms": 0.17}}, "throughput": {"fast": {"atoms_per_s": 5e6}}})
    assert [row["met"] for row in rows] == [True, None, False, None, None]


def test_without_a_gpu_a_dry_run_must_be_asked_for(gpu, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(gpu, monkeypatch, tmp_path)
    assert "no CUDA GPU is here" in capsys.readouterr().err


@pytest.mark.slow  # the interpreter takes minutes
@pytest.mark.filterwarnings("ignore:`vesin.torch` is deprecated:DeprecationWarning")  # torch-sim's own
def test_every_section_runs_dry(gpu, monkeypatch, tmp_path):
    code, record = run(gpu, monkeypatch, tmp_path, "--dry-run")
    assert code == 0
    assert set(record["sections"]) == set(gpu.SECTIONS)
