"""metatomic: one TorchScript file for its interfaces to LAMMPS, GROMACS, PLUMED, i-PI, torch-sim and ASE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.errors import UnsupportedError
from mlff_core.plugins.engine import Engine
from mlff_core.plugins.exporter import Exporter, ExportReport
from mlff_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch
    from mlff_core.structures.prediction import Prediction
    from mlff_plugins.metatomic.calculator import MetatomicPotential

REQUIRES = ("metatomic-torch>=0.1.10", "metatomic-ase>=0.1")
INSTALL_HINT = 'pip install "mlff-hub[metatomic]"'


class MetatomicExporter(Exporter):
    """Writes a student as metatomic's ``AtomisticModel``.

    Option of :meth:`export`: ``"operator"``, ``"portable"`` for torch's own operations, or ``"fused"`` for the CPU
    kernel as one operator. Such a file names its library, which metatomic opens with it.
    """

    name = "metatomic"
    summary = "metatomic AtomisticModel: energy and charges; forces and stress by the engine's differentiation"
    requires = REQUIRES
    install_hint = INSTALL_HINT
    suffix = ".pt"
    has_operator = True

    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path``; see :meth:`mlff_core.plugins.exporter.Exporter.export`."""
        self.ensure_installed()
        from dataclasses import replace

        from mlff_core.export.operators import PORTABLE, is_fused
        from mlff_core.export.writing import edge_graph, write_checked
        from mlff_core.kernels.operator_library import library_path
        from mlff_plugins.metatomic.calculator import MetatomicPotential, save

        fused = is_fused(self.read_options(options, operator=PORTABLE)["operator"])
        network = edge_graph(potential).model

        def reopen(file: Path) -> MetatomicPotential:
            return MetatomicPotential(file, potential.card, potential.dtype)

        def write(file: Path) -> None:
            save(network, potential.card, file, fused=fused)

        report = write_checked(self.name, potential, path, write, reopen)
        return replace(report, details={"needs": f"{library_path()}, on this machine"}) if fused else report


class MetatomicEngine(Engine):
    """A student in metatomic's file, evaluated through metatomic's ASE calculator."""

    name = "metatomic"
    summary = "metatomic's ASE calculator on an exported AtomisticModel"
    requires = REQUIRES
    install_hint = INSTALL_HINT
    capabilities = frozenset({"stress", "charges", "periodic", "batch", "float64"})
    students_only = True

    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> MetatomicPotential:
        """Return metatomic's calculator on a file written for ``potential``, wrapped as a potential."""
        self.ensure_installed()
        import tempfile

        batch = self.read_options(potential, options)["batch"]
        if batch is not None:
            _check_periodicity(batch)
        from mlff_core.export.writing import edge_graph
        from mlff_plugins.metatomic.calculator import MetatomicPotential, save

        with tempfile.TemporaryDirectory(prefix="mlff-metatomic-") as folder:
            path = Path(folder) / "model.pt"
            save(edge_graph(potential).model, potential.card, path)
            return MetatomicPotential(path, potential.card, potential.dtype)

    def evaluate(self, bound: MetatomicPotential, batch: AtomicBatch) -> Prediction:
        """Return energy, forces, charges of atoms if the model gives them, and the stress of periodic structures."""
        _check_periodicity(batch)
        stress = {"stress"} if bool(batch.pbc.all()) else set()
        return bound.predict(batch, want={"energy", "forces"} | ({"charges"} & bound.supports) | stress)


def _check_periodicity(batch: AtomicBatch) -> None:
    """Refuse partly periodic structures, since metatomic's calculator gives no stress for them."""
    if bool((batch.pbc.any(dim=1) & ~batch.pbc.all(dim=1)).any()):
        raise UnsupportedError(
            "metatomic's calculator supports molecules and crystals, but this structure has pbc along some directions; "
            "use another engine for slabs"
        )


@hookimpl
def mlff_register_engines() -> list[Engine]:
    """Register metatomic's calculator."""
    return [MetatomicEngine()]


@hookimpl
def mlff_register_exporters() -> list[Exporter]:
    """Register the exporter."""
    return [MetatomicExporter()]
