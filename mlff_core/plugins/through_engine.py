"""A model evaluated through an MD engine, wrapped as a potential so that every check runs on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mlff_core.plugins.engine import Engine, Tolerance
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction


class ThroughEngine(Potential):
    """A potential that is evaluated by ``engine.evaluate``; it is bound at the first structure and then kept.

    Use it as a context manager: an engine's object with a ``close()`` is closed at the end.

    Parameters
    ----------
    engine
        The engine.
    potential
        The potential to evaluate.
    options
        For :meth:`~mlff_core.plugins.engine.Engine.bind`; the first structure is added as option ``"batch"``.
    """

    def __init__(self, engine: Engine, potential: Potential, options: Mapping[str, Any]) -> None:
        self.engine = engine
        self.potential = potential
        self.options = dict(options)
        self.card = potential.card
        self.device = potential.device
        self.dtype = potential.dtype
        offered = {"energy", "forces"} | (engine.capabilities & {"stress", "atom_energies", "charges"})
        self.supports = frozenset(offered) & potential.supports
        self._bound: Any = None

    @property
    def tolerance(self) -> Tolerance:
        """Largest deviation of the engine from ``predict`` in the potential's precision."""
        is_double = self.dtype.itemsize == 8
        return self.engine.tolerance_float64 if is_double else self.engine.tolerance

    def __enter__(self) -> ThroughEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        close = getattr(self._bound, "close", None)
        if close is not None:
            close()

    def bind(self, batch: AtomicBatch) -> None:
        """Bind the potential for ``batch``."""
        self._bound = self.engine.bind(self.potential, {**self.options, "batch": batch})

    def predict(
        self, batch: AtomicBatch, *, want: Iterable[str] = ("energy", "forces"), edges: EdgeList | None = None
    ) -> Prediction:
        """Return the engine's results: all that it can give, whatever is wanted."""
        if self._bound is None:
            self.bind(batch)
        return self.engine.evaluate(self._bound, batch)

    def wanted(self, batch: AtomicBatch) -> Prediction:
        """Return the potential's own results for the same batch, limited to the quantities that the engine offers."""
        periodic = bool(batch.pbc.any(dim=1).all())
        return self.potential.predict(batch, want=self.supports - (set() if periodic else {"stress"}))

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        return self.predict(batch, want=want, edges=edges)
