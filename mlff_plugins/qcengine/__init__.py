"""QCEngine: a program ``mlff`` for energies, gradients, Hessians and properties.

QCEngine knows third-party programs only in the process that registered them, so call :func:`register` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlff_core.plugins.engine import Engine, Tolerance
from mlff_core.plugins.hookspecs import hookimpl
from mlff_plugins.qcengine.registration import INSTALL_HINT, REQUIRES, register

if TYPE_CHECKING:
    import click

    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch
    from mlff_core.structures.prediction import Prediction


class QCEngineEngine(Engine):
    """QCEngine as an engine: every evaluation is a ``qcengine.compute``."""

    name = "qcengine"
    summary = "QCEngine program `mlff`: energy, gradient, Hessian, properties; geomeTRIC, torsiondrive, QCSchema"
    requires = REQUIRES
    install_hint = INSTALL_HINT
    capabilities = frozenset({"hessian", "charge", "float64"})
    # QCElemental rounds geometries to 8 decimals of a bohr.
    tolerance_float64 = Tolerance(energy=1e-6, forces=1e-6, stress=1e-6)

    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> str:
        """Return the method name under which the registered program serves ``potential``."""
        self.ensure_installed()
        from mlff_plugins.qcengine.harness import MLFFHarness

        self.read_options(potential, options)
        register()
        return MLFFHarness.serve(potential)

    def evaluate(self, bound: str, batch: AtomicBatch) -> Prediction:
        """Return energy and forces of each structure, one ``qcengine.compute`` each."""
        import qcengine

        from mlff_core.structures.batch import split
        from mlff_plugins.qcengine.schema import from_prediction_of, to_input

        results = []
        for structure in split(batch):
            result = qcengine.compute(to_input(structure, bound, "gradient"), "mlff", raise_error=True)
            results.append(result)
        return from_prediction_of(results, batch)


@hookimpl
def mlff_register_engines() -> list[Engine]:
    """Register QCEngine."""
    return [QCEngineEngine()]


@hookimpl
def mlff_register_commands(cli: click.Group) -> None:
    """Add ``mlff qcengine``."""
    from mlff_plugins.qcengine.command import command

    cli.add_command(command)
