"""GROMACS: the TorchScript file for its NNPot interface (GROMACS 2025 and later, built with libtorch)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.plugins.exporter import Exporter, ExportReport
from mlff_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential
    from mlff_plugins.gromacs.reopened import ThroughNNPot

CARD = "mlff_card.json"
"""Name of the extra file in the archive that holds the card."""
EMBEDDINGS = ("mechanical", "electrostatic")
LIBRARIES = "extension_libs"
"""Name of the extra file from which GROMACS reads, separated by colons, the libraries that it opens before the file."""


class GromacsExporter(Exporter):
    """Writes a student as the module of ``nnpot-modelfile``.

    Options of :meth:`export`: ``"operator"``, ``"portable"`` for torch's own operations, or ``"fused"`` for the CPU
    kernel as one operator. Such a file holds the path of its library, which grompp and mdrun load with it.
    ``"embedding"``, ``"mechanical"`` or ``"electrostatic"``, which is for ``nnpot-embedding = electrostatic-model`` of
    GROMACS 2026 and a student with charges; ``"coulomb_cutoff"``, Å, is then the reach of the charges around it.
    """

    name = "gromacs"
    summary = "NNPot module: nm, atomic numbers and box in, kJ/mol out; neighbours inside"
    requires = ("torch",)
    install_hint = "pip install torch"
    suffix = ".pt"
    has_operator = True

    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path``; see :meth:`mlff_core.plugins.exporter.Exporter.export`."""
        self.ensure_installed()
        import json
        from dataclasses import replace

        import torch

        from mlff_core.export.operators import PORTABLE, is_fused
        from mlff_core.export.writing import deprecation_silenced, edge_graph, save_script, write_checked
        from mlff_core.kernels.operator_library import library_path
        from mlff_core.potentials.interface import check_takes_field
        from mlff_plugins.gromacs.embedded_module import EmbeddedNNPotModule
        from mlff_plugins.gromacs.module import NNPotModule
        from mlff_plugins.gromacs.reopened import EMBEDDED_INPUTS, INPUTS, ThroughNNPot, check_batches_on_grid

        given = self.read_options(options, operator=PORTABLE, embedding="mechanical", coulomb_cutoff=12.0)
        fused, embedded = is_fused(given["operator"]), given["embedding"] == "electrostatic"
        if given["embedding"] not in EMBEDDINGS:
            raise InputError(f"embedding must be one of {', '.join(EMBEDDINGS)}, got {given['embedding']!r}")
        network = edge_graph(potential).model
        if potential.dtype != torch.float32:
            raise UnsupportedError("GROMACS passes positions in float32, so the file is float32; leave out --dtype")
        if Path(path).suffix != self.suffix:
            raise InputError(f"GROMACS opens files that end in {self.suffix}, got {path}")
        if embedded:
            check_takes_field(potential)
            if fused:
                raise UnsupportedError("electrostatic embedding needs operator=portable, torch's own operations")
            if not given["coulomb_cutoff"] > 0:
                raise InputError(f"coulomb_cutoff must be a length in Å, got {given['coulomb_cutoff']}")
        extra_files = {CARD: json.dumps(potential.card.to_dict())}
        if fused:
            extra_files[LIBRARIES] = str(library_path())

        def write(temporary: Path) -> None:
            with deprecation_silenced():
                if embedded:
                    made: NNPotModule = EmbeddedNNPotModule(network, potential.card, float(given["coulomb_cutoff"]))
                else:
                    made = NNPotModule(network, potential.card, fused)
                module = torch.jit.script(made.eval())
            save_script(module, temporary, extra_files)

        def reopen(temporary: Path) -> ThroughNNPot:
            with deprecation_silenced():
                return ThroughNNPot(torch.jit.load(str(temporary), map_location="cpu"), potential.card, embedded)

        report = write_checked(self.name, potential, path, write, reopen, check_batches_on_grid(potential.card))
        lines = {f"nnpot-model-input{k + 1}": name for k, name in enumerate(EMBEDDED_INPUTS if embedded else INPUTS)}
        if embedded:
            lines = {"nnpot-embedding": "electrostatic-model", **lines}
        details = {"nnpot-active": "yes", "nnpot-modelfile": report.path.name, **lines}
        if fused:
            details["needs"] = f"{library_path()}, on this machine, and a GROMACS built with torch {torch.__version__}"
        return replace(report, details=details)


@hookimpl
def mlff_register_exporters() -> list[Exporter]:
    """Register the exporter."""
    return [GromacsExporter()]
