"""TorchScript: a file with energy, forces and virial that C++ and Python open without this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.plugins.exporter import Exporter, ExportReport
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_core.potentials.interface import Potential

CARD = "mlff_card.json"
"""Name of the extra file in the archive that holds card and precision."""


class TorchScriptExporter(Exporter):
    """Writes the edge graph of a student as a scripted module."""

    name = "torchscript"
    summary = "C++-loadable module: species and edge vectors in; energy, atom energies, forces, virial out"
    requires = ("torch",)
    install_hint = "pip install torch"
    suffix = ".ts"

    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path``; see :meth:`mlff_core.plugins.exporter.Exporter.export`."""
        import torch

        from mlff_core.export.writing import card_entries, deprecation_silenced, edge_graph, save_script, write_checked

        self.read_options(options)
        graph = edge_graph(potential)
        content = json.dumps(card_entries(potential))

        def write(temporary: Path) -> None:
            with deprecation_silenced():
                module = torch.jit.script(graph)
            save_script(module, temporary, {CARD: content})

        return write_checked(self.name, potential, path, write, TorchScriptRuntime().open)


class TorchScriptRuntime(Runtime):
    """Opens files of :class:`TorchScriptExporter`."""

    name = "torchscript"
    summary = "runs a .ts file through libtorch"
    requires = ("torch",)
    install_hint = "pip install torch"
    suffixes = (".ts",)

    def open(self, path: Path, *, device: str = "cpu") -> Potential:
        """Return the file as a potential; see :meth:`mlff_core.plugins.runtime.Runtime.open`."""
        import io

        import torch

        from mlff_core.export.writing import OUTPUTS, deprecation_silenced, opening
        from mlff_core.models.devices import resolve_device
        from mlff_core.potentials.exported_graph import GraphPotential

        where = resolve_device(device)
        extra = {CARD: ""}
        with opening(path, "torchscript", "TorchScript export") as file, deprecation_silenced():
            module = torch.jit.load(io.BytesIO(file.content), map_location=where, _extra_files=extra)
            entries = json.loads(extra[CARD])
            card, dtype = file.card(entries)
            has_charges = "charges" in entries.get(OUTPUTS, "")

        def graph(*inputs: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                outputs: tuple[Tensor, ...] = module(*inputs)
            return outputs

        return GraphPotential(graph, card, device=where, dtype=dtype, has_charges=has_charges)


@hookimpl
def mlff_register_exporters() -> list[Exporter]:
    """Register the exporter."""
    return [TorchScriptExporter()]


@hookimpl
def mlff_register_runtimes() -> list[Runtime]:
    """Register the runtime."""
    return [TorchScriptRuntime()]
