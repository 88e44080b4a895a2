"""Weights as 8-bit integers: a file of a quarter of the size that computes in float32 with rounded weights.

Weights are rounded in the network before its gradient is traced, so forces stay the exact gradient of the energy. The
file holds integers and a scale for each channel of a matrix; ``Cast`` and ``Mul`` multiply them once, when the file is
opened. With ``DequantizeLinear`` instead, ONNX Runtime 1.31 would also round the features, at every call.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mlff_core.errors import UnsupportedError
from mlff_core.model.edge_graph import EdgeGraph, graph_of
from mlff_core.model.serving import Serves
from mlff_plugins.onnx.file import open_onnx, save, to_onnx

if TYPE_CHECKING:
    import onnx

    from mlff_core.model.student import Student
    from mlff_core.plugins.exporter import ExportReport
    from mlff_core.potentials.interface import Potential
    from mlff_core.tolerance import Tolerance

SERVES = Serves("an int8 file", "leave out the int8 weights, or use an engine that calls mlff-hub")
"""The supported networks: for these the layers to round, and how to keep energies of isolated atoms, are known."""

Matrix = tuple[Tensor, Tensor]
"""Integers, shape (n_out, n_in), int8, and the scale of each output channel, shape (n_out,)."""

LARGEST = 127
"""Largest magnitude of the integers; −128 is not used, so that one scale serves both signs."""


def export_int8(
    potential: Potential, path: Path, graph: EdgeGraph, metadata: Mapping[str, str], tolerance: Tolerance
) -> ExportReport:
    """Write a file with integer weights; its metadata gives the loss of accuracy.

    Raises
    ------
    UnsupportedError
        The potential is not in float32.
    MlffError
        The file deviates from the potential by more than ``tolerance``.
    """
    from dataclasses import replace

    from mlff_core.export.agreement import agreement
    from mlff_core.export.writing import check_batches, write_checked

    if potential.dtype != torch.float32:
        raise UnsupportedError("integer weights in ONNX compute in float32; leave out --dtype, or the int8 weights")
    rounded, matrices = round_weights(graph.model)
    batches = check_batches(potential.card, potential.dtype)
    cost: dict[str, str] = {}

    def write(file: Path) -> None:
        proto = to_onnx(graph_of(rounded).eval())
        n_bytes = store_integers(proto, matrices)
        save(proto, metadata, file)
        found = agreement(potential, open_onnx(file, "cpu"), batches)
        cost["weights"] = f"int8 by channel, {n_bytes} bytes; readout, embedding and biases float32"
        cost["cost_energy_ev_per_atom"] = f"{found.energy:.2e}"
        cost["cost_forces_ev_per_angstrom"] = f"{found.forces:.2e}"
        cost["cost_forces_relative"] = f"{found.forces_relative:.2e}"
        cost["cost_stress_ev_per_angstrom3"] = f"{found.stress:.2e}"
        save(proto, {**metadata, **cost}, file)

    report = write_checked("onnx", potential, path, write, lambda file: open_onnx(file, "cpu"), batches, tolerance)
    return replace(report, details=cost)


def round_weights(network: Student) -> tuple[Student, list[Matrix]]:
    """Return a copy whose weight matrices are multiples of a scale for each output channel, and those matrices.

    Biases, the embedding and the readout are not rounded. Reference energies are shifted so that the energies of
    isolated atoms do not change.

    Raises
    ------
    UnsupportedError
        The architecture or a term of the energy is not supported.
    """
    SERVES.check(network)
    result = copy.deepcopy(network)
    matrices = []
    for name, layer in result.named_modules():
        # The readouts have few weights, and energies and charges are sensitive to them.
        if isinstance(layer, nn.Linear) and not name.startswith(("readout", "charges")):
            matrices.append(to_integers(layer.weight))
            layer.weight.data = multiplied_out(*matrices[-1])
    numbers = torch.tensor(network.config.elements)
    no_edges = torch.zeros(0, dtype=torch.int64)
    no_vectors = torch.zeros(0, 3, dtype=network.scale.dtype)
    with torch.no_grad():
        wanted, found = (one(numbers, no_vectors, no_edges, no_edges) for one in (network, result))
        result.reference_energies = result.reference_energies + wanted - found
    return result, matrices


def to_integers(weight: Tensor) -> Matrix:
    """Return a weight matrix as integers, shape (n_out, n_in), and the scale of each output channel, shape (n_out,).

    Parameters
    ----------
    weight
        Shape (n_out, n_in).
    """
    weight = weight.detach()
    scales = weight.abs().amax(dim=1) / LARGEST
    # For a channel of zeros any scale is right.
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    return torch.round(weight / scales.unsqueeze(1)).to(torch.int8), scales


def multiplied_out(integers: Tensor, scales: Tensor) -> Tensor:
    """Return the weights of integers, shape (n_out, n_in), and scales, shape (n_out,)."""
    return integers.to(scales.dtype) * scales.unsqueeze(1)


def store_integers(proto: onnx.ModelProto, matrices: list[Matrix]) -> int:
    """Replace every rounded matrix of the graph, transposed or not, by its integers; return their bytes.

    A matrix is identified by its content, so the products in the file equal the network's weights to the last bit.
    """
    import onnx
    from onnx import numpy_helper

    known = {}
    for integers, scales in matrices:
        exact = multiplied_out(integers, scales).numpy()
        known[exact.shape, exact.tobytes()] = integers.numpy(), scales.numpy()[:, None]
        known[exact.T.shape, exact.T.tobytes()] = integers.T.numpy(), scales.numpy()[None, :]
    n_bytes = 0
    nodes = []
    for tensor in list(proto.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) != 2:
            continue
        array = numpy_helper.to_array(tensor)
        found = known.get((array.shape, array.tobytes()))
        if found is None:
            continue
        integers_name, scales_name, as_float = (f"{tensor.name}_{part}" for part in ("int8", "scales", "float"))
        proto.graph.initializer.remove(tensor)
        proto.graph.initializer.extend(
            [numpy_helper.from_array(found[0], integers_name), numpy_helper.from_array(found[1], scales_name)]
        )
        nodes.append(onnx.helper.make_node("Cast", [integers_name], [as_float], to=onnx.TensorProto.FLOAT))
        nodes.append(onnx.helper.make_node("Mul", [as_float, scales_name], [tensor.name]))
        n_bytes += found[0].size
    rest = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes, *rest])
    return n_bytes
