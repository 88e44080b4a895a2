"""Exported files, opened without this package's code: an unknown element never gets the energy of another.

ONNX and AOTInductor files are asked in ``test_onnx.py``, ``test_onnx_int8.py`` and ``test_aoti.py``.
"""

import warnings

import numpy as np
import pytest
import torch

from mlff_core.export.writing import deprecation_silenced
from mlff_core.testing import small_student, structures
from mlff_plugins.gromacs import GromacsExporter
from mlff_plugins.metatomic import MetatomicExporter
from mlff_plugins.torchscript import TorchScriptExporter

UNKNOWN = (34, 79, 14, 0, -1, -110, 118, 119, 2**40)
"""As in the fixture ``check_unknown_elements``."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torchscript(tmp_path, dtype, check_unknown_elements, graph_inputs):
    TorchScriptExporter().export(small_student(dtype=dtype, kernel="reference"), tmp_path / "student.ts")
    with deprecation_silenced():
        module = torch.jit.load(str(tmp_path / "student.ts"))
    check_unknown_elements(lambda inputs: [tensor.numpy() for tensor in module(*inputs)], dtype)
    inputs = graph_inputs([structures.ethanol()])
    inputs[0][3] = 34
    with pytest.raises(torch.jit.Error, match=r"does not know the atomic numbers \[34\]; it was made for \[1, 6, 7"):
        module(*inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fused_torchscript(tmp_path, dtype, check_unknown_elements):
    student = small_student(dtype=dtype, kernel="reference")
    TorchScriptExporter().export(student, tmp_path / "student.ts", {"operator": "fused"})
    with deprecation_silenced():
        module = torch.jit.load(str(tmp_path / "student.ts"))
    check_unknown_elements(lambda inputs: [tensor.numpy() for tensor in module(*inputs)], dtype)


def test_gromacs(tmp_path):
    GromacsExporter().export(small_student(), tmp_path / "nnp.pt")
    with deprecation_silenced():
        module = torch.jit.load(str(tmp_path / "nnp.pt"))
    atoms = structures.ethanol()
    positions = torch.tensor(atoms.positions / 10, dtype=torch.float32, requires_grad=True)
    numbers = torch.tensor(atoms.numbers)
    assert torch.isfinite(module(positions, numbers))
    for z in UNKNOWN:
        numbers[2] = z
        with pytest.raises(torch.jit.Error, match="does not know"):
            module(positions, numbers)


def test_metatomic(tmp_path, graph_inputs):
    torch_side = pytest.importorskip("metatomic.torch")
    pytest.importorskip("metatomic_ase")
    from metatensor.torch import Labels, TensorBlock

    MetatomicExporter().export(small_student(), tmp_path / "student.pt")
    with deprecation_silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch_side.load_atomistic_model(str(tmp_path / "student.pt"))
    _, vectors, centers, neighbors, _ = graph_inputs([structures.ethanol()], torch.float64)
    (options,) = model.requested_neighbor_lists()
    shifts = torch.zeros(len(centers), 3, dtype=torch.int64)
    samples = torch.cat([centers[:, None], neighbors[:, None], shifts], dim=1).to(torch.int32)
    names = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]

    def energy(numbers):
        system = torch_side.System(
            types=torch.tensor(numbers, dtype=torch.int32),
            positions=torch.tensor(structures.ethanol().positions),
            cell=torch.zeros(3, 3, dtype=torch.float64),
            pbc=torch.zeros(3, dtype=torch.bool),
        )
        block = TensorBlock(
            vectors.reshape(-1, 3, 1),
            Labels(names, samples),
            [Labels(["xyz"], torch.arange(3, dtype=torch.int32)[:, None])],
            Labels(["distance"], torch.zeros(1, 1, dtype=torch.int32)),
        )
        system.add_neighbor_list(options, block)
        wanted = torch_side.ModelEvaluationOptions(
            length_unit="Angstrom", outputs={"energy": torch_side.ModelOutput(unit="eV", sample_kind="system")}
        )
        return float(model([system], wanted, check_consistency=False)["energy"].block().values)

    numbers = structures.ethanol().numbers.tolist()
    assert np.isfinite(energy(numbers))
    for z in UNKNOWN[:-1]:  # its types are of 32 bits
        with pytest.raises(Exception, match="does not support the atomic type"):
            energy([z, *numbers[1:]])
