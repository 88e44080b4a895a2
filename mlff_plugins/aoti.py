"""AOTInductor: the student's graph compiled ahead of time to machine code, in one ``.pt2`` package."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError
from mlff_core.plugins.exporter import Exporter, ExportReport
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor

    from mlff_core.potentials.interface import Potential

INSTALL_HINT = "pip install 'torch>=2.6', and a C++ compiler such as g++"


class AOTIExporter(Exporter):
    """Compiles the edge graph of a student for this machine."""

    name = "aoti"
    summary = "machine code by AOTInductor with energy, atom energies, forces, virial; for the machine that compiles it"
    requires = ("torch>=2.6",)
    install_hint = INSTALL_HINT
    suffix = ".pt2"

    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path``; see :meth:`mlff_core.plugins.exporter.Exporter.export`."""
        from torch._inductor import aoti_compile_and_package

        from mlff_core.export.writing import card_entries, edge_graph, write_checked
        from mlff_core.model.traced_program import exported_program

        self.read_options(options)
        graph = edge_graph(potential)
        metadata = card_entries(potential)

        def write(file: Path) -> None:
            program, stream = exported_program(graph), io.BytesIO()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                aoti_compile_and_package(
                    program, package_path=stream, inductor_configs={"aot_inductor.metadata": metadata}
                )
            file.write_bytes(stream.getvalue())

        if Path(path).suffix != self.suffix:
            raise InputError(f"AOTInductor packages end in {self.suffix}, got {path}")
        return write_checked(self.name, potential, path, write, AOTIRuntime().open)


class AOTIRuntime(Runtime):
    """Opens files of :class:`AOTIExporter`."""

    name = "aoti"
    summary = "runs a .pt2 package"
    requires = ("torch>=2.6",)
    install_hint = INSTALL_HINT
    suffixes = (".pt2",)

    def open(self, path: Path, *, device: str = "cpu") -> Potential:
        """Return the file as a potential; see :meth:`mlff_core.plugins.runtime.Runtime.open`."""
        import torch
        from torch._inductor import aoti_load_package

        from mlff_core.export.writing import OUTPUTS, opening
        from mlff_core.potentials.exported_graph import GraphPotential

        if device not in ("auto", "cpu"):
            raise InputError(f"AOTInductor packages of this project are compiled for the CPU, not for {device!r}")
        with opening(path, "aoti", "AOTInductor export for this machine") as file:
            package = aoti_load_package(str(path))
            entries = package.get_metadata()
            card, dtype = file.card(entries)
            has_charges = "charges" in entries.get(OUTPUTS, "")

        def graph(*inputs: Tensor) -> list[Tensor]:
            with torch.no_grad():
                return list(package(*inputs))

        return GraphPotential(graph, card, device="cpu", dtype=dtype, has_charges=has_charges)


@hookimpl
def mlff_register_exporters() -> list[Exporter]:
    """Register the exporter."""
    return [AOTIExporter()]


@hookimpl
def mlff_register_runtimes() -> list[Runtime]:
    """Register the runtime."""
    return [AOTIRuntime()]
