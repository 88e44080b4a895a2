"""One command lists the benchmarks and runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
NEEDS = {
    "profiles": "onnxruntime",
    "openmm_growth": "openmm",
    "openmm_embedding": "openmm",
    "openmm_embedding_cutoff": "openmm",
    "engines": "openmm",
    "gpu": "triton",
    "make_envs": None,
}


def benchmarks(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def names():
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.__main__ import benchmarks as found
    finally:
        sys.path.remove(str(ROOT))
    return list(found())


def test_the_list_has_a_line_for_each_and_the_readme_knows_them():
    done = benchmarks()
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert list(lines) == names()
    assert {"cpu_kernel", "gpu", "engines", "ablations", "physics", "targets", "tables"} <= set(lines)
    readme = (ROOT / "benchmarks" / "README.md").read_text()
    assert [name for name in lines if not re.search(rf"(`|python -m benchmarks ){name}\b", readme)] == []


def test_a_name_that_does_not_exist_ends_with_an_error():
    done = benchmarks("nothing")
    assert done.returncode == 1
    assert "no benchmark is called 'nothing'" in done.stderr


@pytest.mark.slow  # each imports torch
@pytest.mark.parametrize("name", [name for name in names() if name not in ("tables", "make_envs")])
def test_every_benchmark_explains_itself(name):
    if NEEDS.get(name):
        pytest.importorskip(NEEDS[name])
    done = benchmarks(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"python -m benchmarks {name}" in done.stdout


def test_a_benchmark_writes_what_it_measured_with_machine_and_commit(tmp_path):
    model, result = tmp_path / "random.pt", tmp_path / "results" / "drift.json"
    done = benchmarks("random_model", model, "ultra-tiny")
    assert done.returncode == 0, done.stderr
    arguments = ("--system", "water-24", "--runs", "1", "--steps", "3", "--out", result)
    done = benchmarks("drift", model, *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    assert list(found)[:2] == ["machine", "commit"]
    assert [row["kernel"] for row in found["rows"]] == ["reference", "cpu"]


def test_the_targets_of_speed_are_met_by_the_results_in_the_repository():
    done = benchmarks("targets")
    assert done.returncode == 0, done.stdout
    assert "times as fast as SchNetPack's PaiNN" in done.stdout
