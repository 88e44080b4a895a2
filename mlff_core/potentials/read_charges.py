"""Charges that a student gives: their dipole, and their comparison with the total charge that was given."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import replace

from mlff_core.card import ModelCard
from mlff_core.model.derivatives import sum_over_systems
from mlff_core.potentials.interface import CHARGES
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.dipole import dipoles
from mlff_core.structures.prediction import Prediction

MOST = 0.3
"""Difference between the sum of a structure's charges and its total charge above which there is a warning, e."""


class ChargeWarning(UserWarning):
    """Charges that do not sum to the total charge that was given for their structure."""


def of_kernel(want: Collection[str]) -> frozenset[str]:
    """Return the names that a kernel computes: charges where a dipole is wanted."""
    asked = frozenset(want)
    return (asked - {"dipole"}) | {"charges"} if "dipole" in asked else asked


class ReadCharges:
    """Completes a prediction that has charges, and warns once if they do not sum to the total charge that was given.

    Parameters
    ----------
    card
        Card of the student. Sums are compared if it is for closed shells only.
    """

    def __init__(self, card: ModelCard) -> None:
        self.name = card.name
        self.compares = card.spin_multiplicities == "closed shell"

    def complete(self, prediction: Prediction, batch: AtomicBatch, want: Collection[str]) -> Prediction:
        """Return the prediction with what is wanted of charges and dipole.

        Parameters
        ----------
        prediction
            With charges, if charges or a dipole are wanted.
        batch
            The structures.
        want
            Names of properties.
        """
        charges = prediction.charges
        if charges is None or not CHARGES.intersection(want):
            return prediction
        if self.compares:
            self._compare(prediction, batch)
        return replace(
            prediction,
            charges=charges if "charges" in want else None,
            dipole=dipoles(batch, charges) if "dipole" in want else None,
        )

    def _compare(self, prediction: Prediction, batch: AtomicBatch) -> None:
        assert prediction.charges is not None
        sums = sum_over_systems(prediction.charges.detach().double(), batch.system_idx, batch.n_systems)
        given = sums.new_zeros(batch.n_systems) if batch.charge is None else batch.charge.to(sums)
        off = (sums - given).abs()
        worst = int(off.argmax())
        if not float(off[worst]) > MOST:
            return
        self.compares = False
        which = "" if batch.n_systems == 1 else f" of structure {worst} of the batch"
        warnings.warn(
            f"the charges{which} that {self.name} gives sum to {float(sums[worst]):+.2f} e, but its total charge was "
            f"given as {float(given[worst]):+g} e; check that no atom is missing and that the charge is right. Later "
            "differences of this model are not reported",
            ChargeWarning,
            stacklevel=3,
        )
