"""ONNX: a graph with energy, forces and virial, and the runtime that evaluates it with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError
from mlff_core.plugins.exporter import Exporter, ExportReport, Variant
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.runtime import Runtime
from mlff_core.tolerance import Tolerance
from mlff_plugins.onnx.file import open_onnx, save, to_onnx

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential

INSTALL_HINT = 'pip install "mlff-hub[onnx]"'


class ONNXExporter(Exporter):
    """Writes the edge graph of a student with its gradient as one ONNX file.

    Option of :meth:`export`: ``"weights"``, ``"int8"`` for 8-bit integers with a scale for each channel.
    """

    name = "onnx"
    summary = "one graph with energy, atom energies, forces and virial; dynamic atoms, edges and systems"
    requires = ("onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20")
    install_hint = INSTALL_HINT
    suffix = ".onnx"
    variants = MappingProxyType(
        {"int8": Variant({"weights": "int8"}, Tolerance(energy=5e-2, forces=0.15, stress=1e-2, charges=0.1))}
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
    """Opens files of :class:`ONNXExporter` with ONNX Runtime."""

    name = "onnx"
    summary = "runs an .onnx file through ONNX Runtime"
    requires = ("onnxruntime>=1.20",)
    install_hint = INSTALL_HINT
    suffixes = (".onnx",)

    def open(self, path: Path, *, device: str = "cpu") -> Potential:
        """Return the file as a potential; see :meth:`mlff_core.plugins.runtime.Runtime.open`."""
        self.ensure_installed()
        return open_onnx(path, device)


@hookimpl
def mlff_register_exporters() -> list[Exporter]:
    """Register the exporter."""
    return [ONNXExporter()]


@hookimpl
def mlff_register_runtimes() -> list[Runtime]:
    """Register the runtime."""
    return [ONNXRuntime()]
