"""The script on the page of exported files."""

import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import molecule

from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import small_student
from mlff_plugins.torchscript import TorchScriptExporter

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "engines" / "exported_file.py"


def test_the_script_gives_the_models_energy_from_the_file_alone(tmp_path):
    student = small_student()
    TorchScriptExporter().export(student, tmp_path / "model.ts")
    line = [sys.executable, str(EXAMPLE), "torchscript", "model.ts"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = float(student.predict(batch_from_atoms(molecule("CH3CH2OH"))).energy)
    assert float(done.stdout.split()[0]) == pytest.approx(wanted, abs=2e-4)


def test_the_page_shows_the_script():
    assert EXAMPLE.read_text().split('"""', 2)[2].strip() in (ROOT / "docs" / "export.md").read_text()
