"""Largest deviations of a file that was read back."""

import math
from dataclasses import replace

import pytest

from mlff_core.errors import MlffError
from mlff_core.export.agreement import agreement
from mlff_core.potentials.wrapping import WrappedPotential
from mlff_core.testing.reference_potential import PairPotential
from mlff_core.testing.structures import small_cell, to_batch, triclinic_crystal


class Off(WrappedPotential):
    """A pair potential with results scaled by a factor, or NaN."""

    def __init__(self, **factors):
        super().__init__(PairPotential())
        self.factors = factors

    def predict_checked(self, batch, want, edges=None):
        found = super().predict_checked(batch, want, edges)
        return replace(found, **{name: factor * getattr(found, name) for name, factor in self.factors.items()})


def between(**factors):
    return agreement(PairPotential(), Off(**factors), [to_batch(triclinic_crystal())])


def test_equal_potentials_agree():
    between().require("the file")


@pytest.mark.parametrize("quantity", ["energy", "forces", "stress"])
@pytest.mark.parametrize("factor", [1.01, math.nan])
def test_a_wrong_factor_and_nan_are_refused(quantity, factor):
    with pytest.raises(MlffError, match="the file does not agree with its model"):
        between(**{quantity: factor}).require("the file")


def test_rounding_may_grow_with_a_stress_and_no_further():
    pressed = small_cell()
    pressed.set_cell(0.7 * pressed.cell, scale_atoms=True)
    batch = to_batch(pressed)
    largest = float(PairPotential().predict(batch, want=["stress"]).stress.abs().max())
    assert largest > 0.5
    for share, is_kept in ((0.5, True), (2.0, False)):
        found = agreement(PairPotential(), Off(stress=1 + share * 2e-6 / 0.1), [batch])
        assert found.stress == pytest.approx(share * 2e-6 * largest / 0.1, rel=0.05)
        if is_kept:
            found.require("the file")
        else:
            with pytest.raises(MlffError):
                found.require("the file")
