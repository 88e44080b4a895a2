"""The difference of two potentials: what an engine adds at the long steps of multiple time steps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from mlff_core.errors import UnsupportedError
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction


class Difference(Potential):
    """Energy and forces of one potential minus those of another, for structures that move little from call to call.

    Each of the two has a list of neighbours of its own, so each simulation needs its own difference.

    Parameters
    ----------
    outer, inner
        The difference is outer − inner; device and precision are those of the outer one.

    Raises
    ------
    UnsupportedError
        One of them gives no forces.
    """

    supports = frozenset({"energy", "forces"})
    uses_edges = False

    def __init__(self, outer: Potential, inner: Potential) -> None:
        for potential in (outer, inner):
            if not self.supports <= potential.supports:
                raise UnsupportedError(f"{potential.card.name} gives no forces, which multiple time steps need")
        self.outer, self.inner = VerletPotential(outer), VerletPotential(inner)
        self.device, self.dtype = outer.device, outer.dtype
        elements = tuple(z for z in outer.card.elements if not inner.card.elements or z in inner.card.elements)
        self.card = replace(outer.card, name=f"{outer.card.name} minus {inner.card.name}", elements=elements)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.outer.potential, self.inner.potential)

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return energy and forces; ``edges`` are not used."""
        far = self.outer.predict(batch, want=self.supports, dynamics=True)
        near = self.inner.predict(batch.to(self.inner.device, self.inner.dtype), want=self.supports, dynamics=True)
        if far.forces is None or near.forces is None:
            raise UnsupportedError(f"{self.card.name} gives no forces")
        return Prediction(
            energy=far.energy - near.energy.to(far.energy), forces=far.forces - near.forces.to(far.forces)
        )
