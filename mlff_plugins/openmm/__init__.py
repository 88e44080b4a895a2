"""OpenMM: forces, multiple time steps (:func:`create_mts`), charges (:func:`atom_charges`), and two engines.

Forces are made by :func:`create_force` and :func:`create_mixed_system`. Importing this module imports neither torch nor
OpenMM.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.plugins.engine import Engine
from mlff_core.plugins.hookspecs import hookimpl
from mlff_plugins.openmm.requirements import (
    INSTALL_HINT,
    OPENMM,
    TORCHFORCE,
    missing_torchforce,
    require_pythonforce,
    require_torchforce,
)

if TYPE_CHECKING:
    from mlff_core.plugins.exporter import Exporter
    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch
    from mlff_core.structures.prediction import Prediction
    from mlff_plugins.openmm.charges import atom_charges as atom_charges
    from mlff_plugins.openmm.force import create_force as create_force
    from mlff_plugins.openmm.mixed import create_mixed_system as create_mixed_system
    from mlff_plugins.openmm.multiple_time_steps import create_mts as create_mts
    from mlff_plugins.openmm.session import Session

__all__ = [
    "OpenMMPythonForceEngine",
    "OpenMMTorchForceEngine",
    "atom_charges",
    "create_force",
    "create_mixed_system",
    "create_mts",
]


class OpenMMEngine(Engine):
    """OpenMM as an engine, with a Context of its own.

    Options of :meth:`bind`: ``"platform"``, the name of an OpenMM platform (``"Reference"``); ``"batch"``, a structure
    to check.
    """

    backend: ClassVar[str]
    install_hint = INSTALL_HINT
    capabilities: ClassVar[frozenset[str]] = frozenset({"charges", "periodic", "float64"})

    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> Session:
        """Return a session with ``potential``; see :meth:`mlff_core.plugins.engine.Engine.bind`."""
        self.ensure_installed()
        from mlff_plugins.openmm.session import Session

        self.check_potential(potential)
        given = self.read_options(potential, options, platform="Reference")
        return Session(potential, self.backend, given["platform"])

    def check_potential(self, potential: Potential) -> None:
        """Refuse a potential that this force does not support."""

    def evaluate(self, bound: Session, batch: AtomicBatch) -> Prediction:
        """Return energy and forces from ``Context.getState``, and charges from :func:`atom_charges`."""
        return bound.evaluate(batch)


class OpenMMTorchForceEngine(OpenMMEngine):
    """OpenMM with the student as a TorchScript module inside ``TorchForce``."""

    name = "openmm-torchforce"
    summary = "OpenMM with openmm-torch's TorchForce: the student as TorchScript, no Python in the MD step"
    requires = TORCHFORCE
    students_only = True
    backend = "torchforce"

    def missing(self) -> tuple[str, ...]:
        """Return the missing requirements; any build of openmmtorch is accepted."""
        return missing_torchforce()

    def ensure_installed(self) -> None:
        """Raise an error if something is missing; see :meth:`mlff_core.plugins.provider.Provider.ensure_installed`."""
        require_torchforce()

    def check_potential(self, potential: Potential) -> None:
        """Refuse a potential that is not a student.

        Raises
        ------
        UnsupportedError
            The potential is not a student.
        """
        from mlff_core.export.writing import edge_graph

        edge_graph(potential)


class OpenMMPythonForceEngine(OpenMMEngine):
    """OpenMM with any potential in a ``PythonForce``."""

    name = "openmm-pythonforce"
    summary = "OpenMM with its PythonForce: any potential, called back at every step"
    requires = OPENMM
    backend = "pythonforce"
    capabilities: ClassVar[frozenset[str]] = frozenset({"charges", "periodic", "charge", "float64"})


@hookimpl
def mlff_register_engines() -> list[Engine]:
    """Register OpenMM with either force."""
    return [OpenMMTorchForceEngine(), OpenMMPythonForceEngine()]


@hookimpl
def mlff_register_exporters() -> list[Exporter]:
    """Register the file for ``TorchForce``."""
    from mlff_plugins.openmm.exporter import OpenMMExporter

    return [OpenMMExporter()]


def __getattr__(name: str) -> Any:
    if name in ("atom_charges", "create_force", "create_mixed_system", "create_mts"):
        require_pythonforce()
        from mlff_plugins.openmm.charges import atom_charges
        from mlff_plugins.openmm.force import create_force
        from mlff_plugins.openmm.mixed import create_mixed_system
        from mlff_plugins.openmm.multiple_time_steps import create_mts

        functions = (atom_charges, create_force, create_mixed_system, create_mts)
        found = {function.__name__: function for function in functions}
        return found[name]
    raise AttributeError(f"module 'mlff_plugins.openmm' has no attribute {name!r}")
