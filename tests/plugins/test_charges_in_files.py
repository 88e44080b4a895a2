"""Exported files of a student that gives charges have them as a further output, the same numbers."""

from dataclasses import replace

import pytest
import torch

from mlff_core import load
from mlff_core.errors import MlffError
from mlff_core.export.agreement import Agreement, agreement
from mlff_core.model.charges import ChargeReadout
from mlff_core.plugins.host import exporter
from mlff_core.testing import small_student, structures
from mlff_core.testing.structures import to_batch

FORMATS = ["torchscript", "onnx", pytest.param("aoti", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def charged():
    student = small_student()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        student.model.charges = ChargeReadout(student.model.n_features, 5).requires_grad_(False)
    return type(student)(student.model, student.card)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_file_gives_the_charges_of_its_student(format_name, charged, tmp_path):
    writes = exporter(format_name)
    if writes.missing():
        pytest.skip(f"{format_name}: {', '.join(writes.missing())} is not installed")
    path = tmp_path / f"model{writes.suffix}"
    writes.export(charged, path)
    opened = load(path, device="cpu")
    assert {"charges", "dipole"} <= opened.supports
    batch = to_batch([structures.ethanol(), structures.ethanol()])
    want = ("energy", "forces", "charges", "dipole")
    expected, found = (one.predict(batch, want=want) for one in (charged, opened))
    assert float(expected.charges.std()) > 0.01
    torch.testing.assert_close(found.charges, expected.charges, rtol=0, atol=2e-5)
    torch.testing.assert_close(found.dipole, expected.dipole, rtol=0, atol=1e-4)
    crystal = to_batch(structures.triclinic_crystal())
    expected, found = (one.predict(crystal, want=("stress", "charges")) for one in (charged, opened))
    torch.testing.assert_close(found.charges, expected.charges, rtol=0, atol=2e-5)
    assert opened.predict(crystal).charges is None


@pytest.mark.parametrize("format_name", ["torchscript", "onnx"])
def test_a_file_of_a_student_without_charges_says_so(format_name, tmp_path):
    writes = exporter(format_name)
    if writes.missing():
        pytest.skip(f"{format_name}: {', '.join(writes.missing())} is not installed")
    path = tmp_path / f"model{writes.suffix}"
    writes.export(small_student(), path)
    assert "charges" not in load(path, device="cpu").supports


def test_an_unknown_element_has_no_charge(charged, graph_inputs, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from mlff_core.model.traced_program import CHARGED_OUTPUTS, INPUTS

    path = tmp_path / "model.onnx"
    exporter("onnx").export(charged, path)
    session = onnxruntime.InferenceSession(path.read_bytes())
    assert tuple(entry.name for entry in session.get_outputs()) == CHARGED_OUTPUTS
    inputs = graph_inputs([structures.ethanol(), structures.ethanol()])
    inputs[0][11] = 79
    charges = session.run(["charges"], {name: one.numpy() for name, one in zip(INPUTS, inputs, strict=True)})[0]
    assert torch.from_numpy(charges[9:]).isnan().all()
    assert torch.from_numpy(charges[:9]).isfinite().all()


def test_integer_weights_keep_the_readout_of_charges(charged, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    exporter("onnx").export(charged, path, {"weights": "int8"})
    batch = to_batch(structures.ethanol())
    expected, found = (one.predict(batch, want=("charges",)).charges for one in (charged, load(path, device="cpu")))
    assert 0 < float((found - expected).abs().max()) < 0.1


def test_an_export_whose_charges_differ_is_refused(charged):
    other = small_student()
    other.model.charges = ChargeReadout(other.model.n_features, 5).requires_grad_(False)
    found = agreement(charged, type(other)(other.model, other.card), [to_batch(structures.ethanol())])
    assert found.forces == 0
    with pytest.raises(MlffError, match="charges by"):
        found.require("the file")
    replace(found, charges=None).require("the file")
    assert agreement(charged, small_student(), [to_batch(structures.ethanol())]) == Agreement(0.0, 0.0, 0.0, None)
