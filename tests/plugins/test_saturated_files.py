"""Files of every format bound the learned energy of an atom as the student does."""

import pytest
import torch

from mlff_core.model.saturation import Saturation
from mlff_core.plugins.host import exporter as exporter_called
from mlff_core.testing import small_student, structures
from mlff_core.testing.structures import to_batch

FORMATS = ["torchscript", "onnx", "openmm", "gromacs", "metatomic", pytest.param("aoti", marks=pytest.mark.slow)]


@pytest.fixture
def bounded():
    """A student whose bounds half of the atoms of most structures exceed."""
    student = small_student()
    n = len(student.card.elements)
    student.model.saturation = Saturation([-1.5] * n, [0.0] * n, 0.5)
    return type(student)(student.model, student.card)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_file_of_a_bounded_student_agrees_with_it(format_name, bounded, tmp_path):
    exporter = exporter_called(format_name)
    if exporter.missing():
        pytest.skip(f"{format_name}: {', '.join(exporter.missing())} is not installed")
    options = {}
    if format_name == "openmm":
        import ase.io

        ase.io.write(tmp_path / "crystal.extxyz", structures.triclinic_crystal())
        options = {"structure": str(tmp_path / "crystal.extxyz")}
    report = exporter.export(bounded, tmp_path / f"model{exporter.suffix}", options)
    assert report.delta_energy <= 2e-5
    assert report.delta_forces <= 2e-3


def test_the_bounds_are_exceeded_on_both_sides_in_the_compared_structures(bounded):
    plain, batch = small_student(), to_batch([structures.triclinic_crystal(), structures.ethanol()])
    free, held = (one.predict(batch, want=("atom_energies",)).atom_energies for one in (plain, bounded))
    assert float((free - held).min()) < -0.1
    assert float((free - held).max()) > 0.1
    assert not torch.allclose(plain.predict(batch).forces, bounded.predict(batch).forces)
