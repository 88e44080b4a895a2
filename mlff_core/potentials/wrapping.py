"""What every potential around another potential shares."""

from __future__ import annotations

from collections.abc import Collection

from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction


class WrappedPotential(Potential):
    """A potential around another one, whose card, device and properties it has.

    It gives what the wrapped potential gives; a subclass overrides :meth:`predict_checked`. It has no stepper, even
    where the wrapped potential has one: steps would be taken without the wrapper.

    Parameters
    ----------
    potential
        What computes.
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self.card = potential.card
        self.device = potential.device
        self.dtype = potential.dtype
        self.supports = potential.supports
        self.uses_edges = potential.uses_edges
        self.selects_edges = potential.selects_edges
        self.members = potential.members
        self.guard = potential.guard

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what the wrapped potential gives; see :meth:`Potential.predict_checked`."""
        return self.potential.predict_checked(batch, want, edges)
