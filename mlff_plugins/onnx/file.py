"""An ONNX file of a student: conversion, writing with the card, and opening as a potential."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_core.errors import InputError

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

    from mlff_core.model.edge_graph import EdgeGraph
    from mlff_core.potentials.exported_graph import GraphPotential


def save(proto: onnx.ModelProto, metadata: Mapping[str, str], path: Path) -> None:
    """Write a checked model with its metadata: the card, elements, cutoff, units, and at the end the file's digest."""
    import onnx

    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(_with_digest(proto.SerializeToString()))


def _with_digest(content: bytes) -> bytes:
    """Return a model with one more entry in its metadata, the digest of all bytes before it."""
    from mlff_core.models.sealed import DIGITS, MARK, sealed

    # Fields of onnx.proto in protobuf's encoding: metadata_props is 14; within an entry, key is 1 and value is 2.
    key, value = bytes([1 << 3 | 2, len(MARK)]) + MARK, bytes([2 << 3 | 2, DIGITS])
    return sealed(content + bytes([14 << 3 | 2, len(key) + len(value) + DIGITS]) + key + value)


def to_onnx(graph: EdgeGraph) -> onnx.ModelProto:
    """Return the graph as an ONNX model with the documented input and output names."""
    import torch

    from mlff_core.model.traced_program import CHARGED_OUTPUTS, INPUTS, OUTPUTS, exported_program

    outputs = list(CHARGED_OUTPUTS if graph.has_charges else OUTPUTS)
    with _quiet():
        program = torch.onnx.export(
            exported_program(graph), dynamo=True, input_names=list(INPUTS), output_names=outputs, verbose=False
        )
    if program is None:
        raise InputError("torch.onnx.export returned nothing; report this with the versions of torch and onnxscript")
    proto: onnx.ModelProto = program.model_proto
    # The tracer's metadata of each node would be four fifths of the file.
    for entry in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        del entry.metadata_props[:]
    del proto.graph.metadata_props[:]
    return proto


def open_onnx(path: Path, device: str) -> GraphPotential:
    """Return an ONNX file as a potential.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or not an export of this project.
    InputError
        ONNX Runtime cannot use this device.
    """
    import onnxruntime
    import torch

    from mlff_core.export.writing import opening
    from mlff_core.model.traced_program import INPUTS
    from mlff_core.potentials.exported_graph import GraphPotential
    from mlff_plugins.onnx.external_data import check_self_contained

    providers = _providers(device)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin between calls slow down other processes.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 4
    with opening(path, "onnx", "ONNX export") as file:
        check_self_contained(file.content)
        session = onnxruntime.InferenceSession(file.content, settings, providers=providers)
        card, dtype = file.card(session.get_modelmeta().custom_metadata_map)

    outputs = [entry.name for entry in session.get_outputs()]

    def graph(*inputs: Tensor) -> list[Tensor]:
        feed = {name: tensor.contiguous().numpy() for name, tensor in zip(INPUTS, inputs, strict=True)}
        return [torch.from_numpy(array) for array in session.run(outputs, feed)]

    return GraphPotential(graph, card, device="cpu", dtype=dtype, has_charges="charges" in outputs)


def _providers(device: str) -> list[str]:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if device in ("auto", "cpu"):
        return ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in available:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    raise InputError(f"ONNX Runtime cannot use device {device!r} here; it has {', '.join(available)}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's output: prints, and log lines about torchvision."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
