import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("metatomic.torch")
pytest.importorskip("metatomic_ase")

import torch
from ase.build import molecule
from metatensor.torch import Labels
from metatomic.torch import ModelOutput
from metatomic_ase import MetatomicCalculator

from mlff_core.errors import UnsupportedError
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import EngineContract, ExporterContract, charged_student, small_student
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


def test_a_file_gives_charges_of_atoms_and_of_systems_with_or_without_the_energy(tmp_path):
    student, frames = charged_student(), [molecule("CH3CH2OH"), molecule("H2O")]
    MetatomicExporter().export(student, tmp_path / "student.pt")
    calculator = MetatomicCalculator(str(tmp_path / "student.pt"), device="cpu", uncertainty_threshold=None)
    # metatomic itself adds the older name.
    assert sorted(calculator.model().capabilities().outputs) == ["charge", "charges", "energy"]
    wanted = student.predict(batch_from_atoms(frames), want=("charges",)).charges
    of_atoms = {"charge": ModelOutput(unit="e", sample_kind="atom")}
    block = calculator.run_model(frames, of_atoms)["charge"].block()
    torch.testing.assert_close(block.values[:, 0].float(), wanted, atol=1e-5, rtol=0)
    assert block.samples.names == ["system", "atom"]
    assert block.samples.column("system").tolist() == [0] * 9 + [1] * 3
    chosen = Labels(["system", "atom"], torch.tensor([[0, 4], [1, 2]], dtype=torch.int32))
    block = calculator.run_model(frames, of_atoms, selected_atoms=chosen)["charge"].block()
    torch.testing.assert_close(block.values[:, 0].float(), wanted[[4, 11]], atol=1e-5, rtol=0)
    both = {"charge": ModelOutput(unit="e", sample_kind="system"), "energy": ModelOutput(unit="eV")}
    found = calculator.run_model(frames, both)
    sums = torch.stack([wanted[:9].sum(), wanted[9:].sum()])
    torch.testing.assert_close(found["charge"].block().values[:, 0].float(), sums, atol=1e-5, rtol=0)
    assert found["energy"].block().values.shape == (2, 1)


def test_a_file_of_a_student_without_charges_has_no_such_output(tmp_path):
    MetatomicExporter().export(small_student(), tmp_path / "student.pt")
    calculator = MetatomicCalculator(str(tmp_path / "student.pt"), device="cpu", uncertainty_threshold=None)
    assert list(calculator.model().capabilities().outputs) == ["energy"]
