"""Base class of potentials that wrap another potential."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction


class WrappedPotential(Potential):
    """A potential that wraps another one and has its card, device and properties.

    It returns the predictions of the wrapped potential; a subclass overrides :meth:`predict_checked`. It has no
    stepper, even if the wrapped potential has one: its steps would bypass the wrapper.

    Parameters
    ----------
    potential
        The wrapped potential.
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
        """Return the prediction of the wrapped potential; see :meth:`Potential.predict_checked`."""
        return self.potential.predict_checked(batch, want, edges)


class SpinUnchecked(WrappedPotential):
    """A potential without the check of electrons, for test structures such as pairs of atoms."""

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        self.card = replace(potential.card, spin_multiplicities="singlet")
