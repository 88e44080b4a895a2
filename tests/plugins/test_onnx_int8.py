"""Integer weights: content of the file, loss of accuracy, and the report of it."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.export.agreement import agreement
from mlff_core.export.writing import check_batches
from mlff_core.model.painn import PaiNN
from mlff_core.model.term import Term
from mlff_core.model.traced_program import INPUTS, OUTPUTS
from mlff_core.model.zbl import ZBLRepulsion
from mlff_core.potentials.student import StudentPotential
from mlff_core.testing import small_student
from mlff_core.tolerance import Tolerance
from mlff_plugins.onnx import ONNXExporter, ONNXRuntime
from mlff_plugins.onnx.int8 import LARGEST, export_int8, multiplied_out, round_weights, to_integers


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    report = ONNXExporter().export(small_student(), folder / "int8.onnx", {"weights": "int8"})
    return report, onnx.load(report.path)


def test_an_element_the_model_does_not_know_has_no_energy(written, check_unknown_elements):
    session = onnxruntime.InferenceSession(str(written[0].path))

    def call(inputs):
        return session.run(OUTPUTS, {name: tensor.numpy() for name, tensor in zip(INPUTS, inputs, strict=True)})

    check_unknown_elements(call)


def test_no_weight_is_off_by_more_than_half_a_step_of_its_channel():
    weight = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    weight[3] = 0.0
    weight[4] *= 1e-3
    integers, scales = to_integers(weight)
    assert integers.dtype == torch.int8
    assert int(integers.abs().max()) == LARGEST
    off = (multiplied_out(integers, scales) - weight).abs()
    assert bool((off <= 0.5001 * weight.abs().amax(dim=1, keepdim=True) / LARGEST).all())


def test_isolated_atoms_keep_their_energies():
    student = small_student(dtype=torch.float64, kernel="reference")
    rounded, _ = round_weights(student.model)
    numbers = torch.tensor(student.card.elements)
    nothing = (
        torch.zeros(0, 3, dtype=torch.float64),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, dtype=torch.int64),
    )
    with torch.no_grad():
        assert torch.allclose(rounded(numbers, *nothing), student.model(numbers, *nothing), atol=1e-9, rtol=0)


def test_the_file_is_the_network_with_rounded_weights_forces_included(written):
    # So its forces are the gradient of its energy, as exactly as in any other file.
    student = small_student()
    rounded, _ = round_weights(student.model)
    batches = check_batches(student.card, torch.float32)
    same = StudentPotential(rounded, student.card, kernel="reference")
    found = agreement(same, ONNXRuntime().open(written[0].path), batches)
    assert found.energy < 2e-5
    assert found.forces_relative < 2e-5
    assert found.stress < 1e-6


def test_every_matrix_but_the_readout_and_the_embedding_is_of_integers(written):
    proto = written[1]
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    integers = {name: array for name, array in arrays.items() if array.dtype == np.int8}
    assert {node.input[0] for node in proto.graph.node if node.op_type == "Cast" and node.input[0] in arrays} >= set(
        integers
    )
    _, matrices = round_weights(small_student().model)
    # Each stands there as it is, and but for the first message's transposed too, for the gradient.
    once = sum(matrix.numel() for matrix, _ in matrices)
    assert 1.8 * once < sum(array.size for array in integers.values()) <= 2 * once
    products = [node for node in proto.graph.node if node.op_type in ("MatMul", "Gemm")]
    in_float = [arrays[node.input[1]].size for node in products if node.input[1] in arrays]
    assert max(in_float) <= small_student().model.readout[0].weight.numel()


def test_the_file_and_the_report_say_what_the_integers_cost(written):
    report, proto = written
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["weights"].startswith("int8 by channel")
    for key, value in report.details.items():
        assert metadata[key] == value
    assert float(metadata["cost_forces_ev_per_angstrom"]) == pytest.approx(report.delta_forces, rel=1e-2)
    assert float(metadata["cost_energy_ev_per_atom"]) == pytest.approx(report.delta_energy, rel=1e-2)
    assert report.delta_forces > 0
    assert json.loads(metadata["mlff_card"])["name"] == "small-student"


def test_double_precision_and_unknown_forms_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="float32"):
        ONNXExporter().export(small_student(dtype=torch.float64), tmp_path / "x.onnx", {"weights": "int8"})
    with pytest.raises(InputError, match="int4"):
        ONNXExporter().export(small_student(), tmp_path / "x.onnx", {"weights": "int4"})
    with pytest.raises(InputError, match="wieghts"):
        ONNXExporter().export(small_student(), tmp_path / "x.onnx", {"wieghts": "int8"})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # an export of its own
def test_a_file_beyond_its_tolerance_is_not_kept(tmp_path):
    from mlff_core.export.writing import card_entries, edge_graph

    student = small_student()
    with pytest.raises(MlffError, match="not kept"):
        export_int8(student, tmp_path / "x.onnx", edge_graph(student), card_entries(student), Tolerance())
    assert not list(tmp_path.iterdir())


def test_a_term_that_was_not_tried_is_refused():
    class Nothing(Term):
        name = "nothing"

        def forward(self, distances, species, centers, neighbors, features):
            return 0.0 * distances

    config = small_student().model.config
    model = PaiNN(config, [ZBLRepulsion.make(config), Nothing(config.cutoff)])
    with pytest.raises(UnsupportedError, match="term 'nothing', which an int8 file does not compute"):
        round_weights(model)
