"""Comparison of predictions; the error names the quantity, its deviation and the place."""

from __future__ import annotations

from dataclasses import replace

from mlff_core.errors import InputError
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.difference import differences
from mlff_core.structures.prediction import Prediction
from mlff_core.tolerance import Tolerance


def assert_prediction_close(
    found: Prediction, wanted: Prediction, batch: AtomicBatch, tolerance: Tolerance, what: str
) -> None:
    """Check every quantity that both predictions of ``batch`` hold.

    Raises
    ------
    AssertionError
        A quantity deviates too much or has the wrong shape. Energy, forces, stress and atom energies are checked in
        this order; the message names the worst structure, atom and component. NaN counts as wrong.
    """
    try:
        for difference in differences(found, wanted, batch):
            if difference.quantity == "stress":
                # No structure here has a pressure that would justify a larger tolerance.
                difference = replace(difference, scale=1.0)
            if not difference.is_within(tolerance):
                raise AssertionError(f"{what}: {difference.explained(tolerance)}")
    except InputError as error:
        raise AssertionError(f"{what}: {error}") from error
