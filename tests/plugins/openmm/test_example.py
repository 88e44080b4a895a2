"""The script on OpenMM's page is the example, and the example runs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("openmm")

from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import charged_student, small_student

ROOT = Path(__file__).parents[3]
# Not openmm.py: a script of that name is what `import openmm` in it would find.
EXAMPLE = ROOT / "examples" / "engines" / "openmm_nve.py"
LIGAND = EXAMPLE.with_name("openmm_embedded_ligand.py")


def test_the_example_runs_and_its_energy_stays(tmp_path):
    student = small_student()
    model = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    done = subprocess.run([sys.executable, str(EXAMPLE), str(model)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    totals = [float(line.split("total energy ")[1].split()[0]) for line in done.stdout.splitlines()]
    assert len(totals) == 4
    # kJ/mol; random weights make stiff bonds, and velocity Verlet's energy then swings by a few tenths of kT an atom.
    assert max(totals) - min(totals) < 5.0


def test_the_page_shows_the_example():
    body = EXAMPLE.read_text().split('"""', 2)[2].strip()
    assert body in (ROOT / "docs" / "engines" / "openmm.md").read_text()


def test_the_ligand_is_embedded_and_its_charges_change(tmp_path):
    pytest.importorskip("rdkit")
    student = charged_student()
    card = replace(student.card, charges="closed-shell")
    model = save_checkpoint(tmp_path / "model.pt", student.model, card)
    done = subprocess.run([sys.executable, str(LIGAND), str(model)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    charges = [line.split("[")[1].split("]")[0].split() for line in done.stdout.splitlines() if "charges" in line]
    assert len(charges) == 4
    assert all(len(row) == 7 for row in charges)
    assert charges[0] != charges[3]
