"""ONNX: energy, forces and virial in one graph, and ONNX Runtime to run it without torch's weights."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError
from mlff_core.plugins.exporter import Exporter, ExportReport, Variant
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.runtime import Runtime
from mlff_core.tolerance import Tolerance

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

    from mlff_core.model.edge_graph import EdgeGraph
    from mlff_core.potentials.exported_graph import GraphPotential
    from mlff_core.potentials.interface import Potential

INSTALL_HINT = 'pip install "mlff-hub[onnx]"'


class ONNXExporter(Exporter):
    """Writes the edge graph of a student, gradient included, as one ONNX file.

    Option of :meth:`export`: ``"weights"``, ``"int8"`` for 8-bit integers with a scale for each channel.
    """

    name = "onnx"
    summary = "one graph with energy, atom energies, forces and virial; dynamic atoms, edges and systems"
    requires = ("onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20")
    install_hint = INSTALL_HINT
    suffix = ".onnx"
    variants = MappingProxyType(
        {"int8": Variant({"weights": "int8"}, Tolerance(energy=5e-2, forces=0.15, stress=1e-2))}
    )

    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path``; see :meth:`mlff_core.plugins.exporter.Exporter.export`."""
        self.ensure_installed()
        from mlff_core.export.writing import card_entries, edge_graph, write_checked

        weights = self.read_options(options, weights=None)["weights"]
        if weights not in (None, "int8"):
            raise InputError(f"weights must be int8 or left out, got {weights!r}")
        graph, card = edge_graph(potential), potential.card
        metadata = {
            **card_entries(potential),
            "elements": " ".join(card.symbols),
            "cutoff_angstrom": str(card.cutoff),
            "units": "edge_vectors Angstrom; energies and virial eV; forces eV/Angstrom; virial = -dE/dstrain",
        }
        if weights is None:
            return write_checked(
                self.name,
                potential,
                path,
                lambda file: save(to_onnx(graph), metadata, file),
                lambda file: open_onnx(file, "cpu"),
            )
        from mlff_plugins.onnx.int8 import export_int8

        return export_int8(potential, path, graph, metadata, self.variants["int8"].tolerance)


class ONNXRuntime(Runtime):
    """Opens what :class:`ONNXExporter` wrote, through ONNX Runtime."""

    name = "onnx"
    summary = "runs an .onnx file through ONNX Runtime"
    requires = ("onnxruntime>=1.20",)
    install_hint = INSTALL_HINT
    suffixes = (".onnx",)

    def open(self, path: Path, *, device: str = "cpu") -> Potential:
        """Return the file as a potential; see :meth:`mlff_core.plugins.runtime.Runtime.open`."""
        self.ensure_installed()
        return open_onnx(path, device)


def save(proto: onnx.ModelProto, metadata: Mapping[str, str], path: Path) -> None:
    """Write a checked model with its metadata: the card, and elements, cutoff and units in plain words."""
    import onnx

    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def to_onnx(graph: EdgeGraph) -> onnx.ModelProto:
    """Return the graph as an ONNX model with the input and output names of the design."""
    import torch

    from mlff_core.model.traced_program import INPUTS, OUTPUTS, exported_program

    with _quiet():
        program = torch.onnx.export(
            exported_program(graph), dynamo=True, input_names=list(INPUTS), output_names=list(OUTPUTS), verbose=False
        )
    if program is None:
        raise InputError("torch.onnx.export returned nothing; report this with the versions of torch and onnxscript")
    proto: onnx.ModelProto = program.model_proto
    # The tracer's notes on each node are four fifths of the file.
    for entry in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        del entry.metadata_props[:]
    del proto.graph.metadata_props[:]
    return proto


def open_onnx(path: Path, device: str) -> GraphPotential:
    """Return an ONNX file as a potential.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or no export of this project.
    InputError
        ONNX Runtime cannot use this device.
    """
    import onnxruntime
    import torch

    from mlff_core.export.writing import card_from_entries, opening
    from mlff_core.model.traced_program import INPUTS, OUTPUTS
    from mlff_core.potentials.exported_graph import GraphPotential

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin between calls slow every other process on the machine.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 4
    with opening(path, "onnx", "ONNX export"):
        session = onnxruntime.InferenceSession(str(path), settings, providers=_providers(device))
        card, dtype = card_from_entries(session.get_modelmeta().custom_metadata_map)

    def graph(
        atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        inputs = (atomic_numbers, edge_vectors, centers, neighbors, system_idx)
        feed = {name: tensor.contiguous().numpy() for name, tensor in zip(INPUTS, inputs, strict=True)}
        energy, atom_energies, forces, virial = (torch.from_numpy(array) for array in session.run(OUTPUTS, feed))
        return energy, atom_energies, forces, virial

    return GraphPotential(graph, card, device="cpu", dtype=dtype)


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
    """Keep the exporter's chatter (prints, log lines about torchvision) from the user's terminal."""
    import warnings

    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@hookimpl
def mlff_register_exporters() -> list[Exporter]:
    """Register the exporter."""
    return [ONNXExporter()]


@hookimpl
def mlff_register_runtimes() -> list[Runtime]:
    """Register the runtime."""
    return [ONNXRuntime()]
