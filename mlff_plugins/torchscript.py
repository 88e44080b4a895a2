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
    """Writes the edge graph of a student as a scripted module.

    Option of :meth:`export`: ``"operator"``, ``"portable"`` for torch's own operations, or ``"fused"`` for the CPU
    kernel as one operator, whose library must be loaded before the file is opened.
    """

    name = "torchscript"
    summary = "C++-loadable module: species and edge vectors in; energy, atom energies, forces, virial out"
    requires = ("torch",)
    install_hint = "pip install torch"
    suffix = ".ts"
    has_operator = True

    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path``; see :meth:`mlff_core.plugins.exporter.Exporter.export`."""
        from dataclasses import replace

        import torch

        from mlff_core.export.operators import PORTABLE, details_of, is_fused
        from mlff_core.export.writing import card_entries, deprecation_silenced, edge_graph, save_script, write_checked

        fused = is_fused(self.read_options(options, operator=PORTABLE)["operator"])
        graph: torch.nn.Module = edge_graph(potential)
        if fused:
            from mlff_core.kernels.fused_modules import fused_graph_of

            graph = fused_graph_of(edge_graph(potential).model).eval()
        details = details_of(fused)
        content = json.dumps({**card_entries(potential), **details})

        def write(temporary: Path) -> None:
            with deprecation_silenced():
                module = torch.jit.script(graph)
            save_script(module, temporary, {CARD: content})

        report = write_checked(self.name, potential, path, write, TorchScriptRuntime().open)
        return replace(report, details=details)


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

        from mlff_core.export.operators import load_operators_for
        from mlff_core.export.writing import OUTPUTS, deprecation_silenced, opening
        from mlff_core.models.archive import extra_file
        from mlff_core.models.devices import resolve_device
        from mlff_core.potentials.exported_graph import GraphPotential

        where = resolve_device(device)
        with opening(path, "torchscript", "TorchScript export") as file, deprecation_silenced():
            entries = json.loads(extra_file(file.content, CARD))
            load_operators_for(entries)
            module = torch.jit.load(io.BytesIO(file.content), map_location=where)
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
