"""ONNX: energy, forces and virial in one graph, and ONNX Runtime to run it without torch's weights."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.errors import CheckpointError, InputError
from mlff_core.exporter import Exporter, ExportReport
from mlff_core.hookspecs import hookimpl
from mlff_core.runtime import Runtime

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

    from mlff_core.graph_potential import GraphPotential
    from mlff_core.model.graph import EdgeGraph
    from mlff_core.potential import Potential

INSTALL_HINT = 'pip install "mlff-hub[onnx]"'
CARD = "mlff_card"
"""Metadata key of the card; beside it are ``elements``, ``cutoff_angstrom``, ``units`` and ``dtype`` in plain words."""


class ONNXExporter(Exporter):
    """Writes the edge graph of a student, gradient included, as one ONNX file."""

    name = "onnx"
    summary = "one graph with energy, atom energies, forces and virial; dynamic atoms, edges and systems"
    requires = ("onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20")
    install_hint = INSTALL_HINT
    suffix = ".onnx"

    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path``; see :meth:`mlff_core.exporter.Exporter.export`."""
        self.ensure_installed()
        import onnx

        from mlff_core.exporting import edge_graph, write_checked

        if options:
            raise InputError(f"onnx takes no options, got {', '.join(options)}")
        graph, card = edge_graph(potential), potential.card
        metadata = {
            CARD: json.dumps(card.to_dict()),
            "dtype": str(potential.dtype).removeprefix("torch."),
            "elements": " ".join(card.symbols),
            "cutoff_angstrom": str(card.cutoff),
            "units": "edge_vectors Angstrom; energies and virial eV; forces eV/Angstrom; virial = -dE/dstrain",
        }

        def write(file: Path) -> None:
            proto = to_onnx(graph)
            onnx.helper.set_model_props(proto, metadata)
            onnx.checker.check_model(proto, full_check=True)
            onnx.save(proto, file)

        return write_checked(self.name, potential, path, write, lambda file: open_onnx(file, "cpu"))


class ONNXRuntime(Runtime):
    """Opens what :class:`ONNXExporter` wrote, through ONNX Runtime."""

    name = "onnx"
    summary = "runs an .onnx file through ONNX Runtime"
    requires = ("onnxruntime>=1.20",)
    install_hint = INSTALL_HINT
    suffixes = (".onnx",)

    def open(self, path: Path, *, device: str = "cpu") -> Potential:
        """Return the file as a potential; see :meth:`mlff_core.runtime.Runtime.open`."""
        self.ensure_installed()
        return open_onnx(path, device)


def to_onnx(graph: EdgeGraph) -> onnx.ModelProto:
    """Return the graph as an ONNX model with the input and output names of the design."""
    import torch

    from mlff_core.model.exported import INPUTS, OUTPUTS, exported_program

    with _quiet():
        program = torch.onnx.export(
            exported_program(graph), dynamo=True, input_names=list(INPUTS), output_names=list(OUTPUTS), verbose=False
        )
    if program is None:
        raise InputError("torch.onnx.export returned nothing; report this with the versions of torch and onnxscript")
    proto: onnx.ModelProto = program.model_proto
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

    from mlff_core.card import ModelCard
    from mlff_core.graph_potential import GraphPotential
    from mlff_core.model.exported import INPUTS, OUTPUTS
    from mlff_core.registry import resolve_dtype

    if not Path(path).is_file():
        raise CheckpointError(f"there is no file {path}; write it with `mlff export MODEL --format onnx -o {path}`")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin between calls slow every other process on the machine.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=_providers(device))
        metadata = session.get_modelmeta().custom_metadata_map
        card, dtype = ModelCard.from_dict(json.loads(metadata[CARD])), resolve_dtype(metadata["dtype"])
    except InputError:
        raise
    except Exception as error:
        # onnxruntime's own exceptions share no base class.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} is no ONNX export of this project: {reason}; write it with `mlff export --format onnx`"
        ) from error

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
