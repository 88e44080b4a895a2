import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("metatomic.torch")
pytest.importorskip("metatomic_ase")

from ase.build import molecule

from mlff_core.errors import UnsupportedError
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import EngineContract, ExporterContract, small_student
from mlff_plugins.metatomic import MetatomicEngine, MetatomicExporter
from mlff_plugins.metatomic.module import MetatomicStudent


class TestMetatomic(EngineContract):
    engine = MetatomicEngine()


class TestMetatomicExporter(ExporterContract):
    exporter = MetatomicExporter()


class TestFusedMetatomicExporter(ExporterContract):
    exporter = MetatomicExporter()
    options = {"operator": "fused"}  # noqa: RUF012


@pytest.mark.parametrize("operator", ["portable", "fused"])
def test_the_script_of_the_page_runs_on_an_exported_file(operator, tmp_path):
    student = small_student()
    MetatomicExporter().export(student, tmp_path / "student.pt", {"operator": operator})
    script = Path(__file__).parents[2] / "examples" / "engines" / "metatomic_energy.py"
    line = [sys.executable, str(script), "student.pt"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    energy, force = (float(line.split()[0]) for line in done.stdout.splitlines())
    wanted = student.predict(batch_from_atoms(molecule("CH3CH2OH")))
    assert energy == pytest.approx(float(wanted.energy), abs=2e-4)
    assert force == pytest.approx(float(wanted.forces.abs().max()), rel=1e-4)


def test_another_architecture_is_refused(monkeypatch):
    student = small_student()
    monkeypatch.setattr(type(student.model), "architecture", "Other")
    with pytest.raises(UnsupportedError, match="a metatomic model computes PaiNN, but this is a Other"):
        MetatomicStudent(student.model, student.card)
