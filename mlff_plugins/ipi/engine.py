"""i-PI as engines of this package: structures are evaluated through i-PI's own force fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.plugins.engine import Engine

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch
    from mlff_core.structures.prediction import Prediction
    from mlff_plugins.ipi.session import Session


class _IPIEngine(Engine):
    """Base class of both engines; the option of :meth:`bind` is ``"batch"``, a structure to check."""

    requires = ("ipi>=3.1",)
    install_hint = 'pip install "mlff-hub[ipi]"'
    capabilities: ClassVar[frozenset[str]] = frozenset({"stress", "periodic", "slab", "batch", "charge", "float64"})

    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> Session:
        """Return a session with i-PI's force field; see :meth:`mlff_core.plugins.engine.Engine.bind`."""
        self.ensure_installed()
        self.read_options(potential, options)
        return self._session(potential)

    def evaluate(self, bound: Session, batch: AtomicBatch) -> Prediction:
        """Return energy, forces and, for periodic structures, stress, one request to i-PI for each structure."""
        return bound.evaluate(batch)

    def _session(self, potential: Potential) -> Session:
        raise NotImplementedError


class IPISocketEngine(_IPIEngine):
    """i-PI's ``ffsocket``, served over a UNIX socket by the client of ``mlff serve-ipi``."""

    name = "ipi-socket"
    summary = "i-PI over its socket: path integrals, NPT, replica exchange; mlff serve-ipi"

    def _session(self, potential: Potential) -> Session:
        from mlff_plugins.ipi.session import SocketSession

        return SocketSession(potential)


class IPIDirectEngine(_IPIEngine):
    """i-PI's ``ffdirect``: the model in i-PI's own process."""

    name = "ipi-direct"
    summary = "i-PI with the model in its own process, without a socket: <ffdirect>; mlff ipi-pes-path"

    def _session(self, potential: Potential) -> Session:
        from mlff_plugins.ipi.session import DirectSession

        return DirectSession(potential)
