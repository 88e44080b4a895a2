import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx
import onnxruntime

from mlff_core.export.writing import check_batches
from mlff_core.model.traced_program import INPUTS, OUTPUTS
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.testing import ExporterContract, RuntimeContract
from mlff_core.testing.reference_potential import small_student
from mlff_plugins.onnx import ONNXExporter, ONNXRuntime


@pytest.mark.slow  # a dozen exports of ten seconds each
class TestONNXExporter(ExporterContract):
    exporter = ONNXExporter()


@pytest.mark.slow
class TestONNXRuntime(RuntimeContract):
    runtime = ONNXRuntime()
    exporter = ONNXExporter()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    student = small_student()
    path = tmp_path_factory.mktemp("onnx") / "student.onnx"
    ONNXExporter().export(student, path)
    return student, path


def test_the_file_says_its_units_elements_and_names_by_itself(written):
    student, path = written
    proto = onnx.load(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["elements"].split() == list(student.card.symbols)
    assert float(metadata["cutoff_angstrom"]) == student.card.cutoff
    assert "forces eV/Angstrom" in metadata["units"]
    assert [entry.name for entry in proto.graph.input] == list(INPUTS)
    assert [entry.name for entry in proto.graph.output] == list(OUTPUTS)


def test_sums_over_edges_are_the_same_at_every_call_whatever_the_threads(written):
    # ScatterND with a sum is split over threads without a lock by ONNX Runtime: forces were then off by up to 1 %.
    student, path = written
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 4
    session = onnxruntime.InferenceSession(str(path), settings)
    batch = check_batches(student.card, torch.float32)[-2]
    edges = find_neighbors(batch, student.card.cutoff)
    inputs = (batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors, batch.system_idx)
    feed = {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)}
    expected = student.predict(batch).forces.numpy()
    for _ in range(10):
        forces = session.run(["forces"], feed)[0]
        assert np.abs(forces - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


def test_no_sum_is_a_scatter_nd(written):
    nodes = onnx.load(written[1]).graph.node
    assert any(node.op_type == "ScatterElements" for node in nodes)
    summing = [
        node
        for node in nodes
        if node.op_type == "ScatterND" and any(a.name == "reduction" and a.s == b"add" for a in node.attribute)
    ]
    assert not summing


@pytest.mark.slow  # an export of its own
def test_a_float64_file_keeps_the_digits_of_every_constant(tmp_path, check_unknown_elements):
    student = small_student(dtype=torch.float64, kernel="reference")
    report = ONNXExporter().export(student, tmp_path / "student.onnx")
    assert report.delta_forces < 1e-9
    check_unknown_elements(raw(tmp_path / "student.onnx"), torch.float64)


def raw(path):
    """Return the graph as ONNX Runtime alone opens it."""
    session = onnxruntime.InferenceSession(str(path))

    def call(inputs):
        return session.run(OUTPUTS, {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)})

    return call


def test_an_element_the_model_does_not_know_has_no_energy(written, check_unknown_elements):
    # The species index −1 was read from the end of the table: CH3SeH had the energy of CH3SCl.
    check_unknown_elements(raw(written[1]))
