"""The example notebooks run, and their stored outputs are those of one run."""

import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NEEDS = {
    "01_quick_start": ["matplotlib"],
    "02_molecular_dynamics": ["matplotlib", "openmm"],
    "03_comparing_models": ["matplotlib", "rdkit", "so3krates_torch"],
    "04_benchmarking": ["matplotlib", "openmm"],
}
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == "code"]


def test_there_are_four():
    assert [path.stem for path in NOTEBOOKS] == sorted(NEEDS)


@pytest.mark.timeout(900)  # seconds of work, each of which may be minutes on a machine that does other things
@pytest.mark.parametrize("name", sorted(NEEDS))
def test_a_short_run_ends_without_error_or_warning(name):
    for package in NEEDS[name]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    line = [sys.executable, str(FOLDER / "run.py"), "--small", name]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{name}.ipynb\n"


@by_name
def test_outputs_are_those_of_one_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@by_name
def test_a_notebook_is_small(path):
    assert path.stat().st_size < 300_000, "lower the resolution of its plots"


@by_name
def test_a_short_run_sets_parameters_that_are_there(path):
    small = runpy.run_path(str(FOLDER / "run.py"))["SMALL"][path.stem]
    (cell,) = (cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", []))
    assert {line.split(" = ")[0] for line in cell["source"].splitlines() if " = " in line} == set(small)


def test_the_compared_molecules_are_out_of_the_test_set():
    (cell,) = (c for c in code_cells(FOLDER / "03_comparing_models.ipynb") if "smiles = [" in c["source"])
    listed = cell["source"].split("smiles = [")[1].split("]")[0].replace("\n", " ").split('"')[1::2]
    known = (ROOT / "examples" / "train" / "data" / "test_scaffolds.smi").read_text().split()
    assert len(listed) > 3
    assert set(listed) <= set(known)
