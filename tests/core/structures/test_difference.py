"""The largest difference between two predictions is found, located, and compared with a tolerance."""

import math
from dataclasses import replace

import pytest
import torch

from mlff_core.errors import InputError
from mlff_core.structures.batch import concatenate, single
from mlff_core.structures.difference import QUANTITIES, differences, largest
from mlff_core.structures.prediction import Prediction
from mlff_core.tolerance import Tolerance

BATCH = concatenate(
    [
        single([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [1, 1], [[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0]], True),
        single([[0.0, 0.0, 0.0]], [8], [[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0]], True),
    ]
)


def prediction():
    return Prediction(
        energy=torch.tensor([-2.0, -8.0], dtype=torch.float64),
        forces=torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, -0.5], [0.0, 4.0, 0.0]]),
        stress=0.01 * torch.eye(3).repeat(2, 1, 1),
        atom_energies=torch.tensor([-1.0, -1.0, -8.0], dtype=torch.float64),
        charges=torch.tensor([0.25, -0.25, 0.0]),
    )


def compared(change):
    """Return the difference of the quantity that ``change`` alters, after checking that nothing else differs."""
    found = {d.quantity: d for d in differences(change(prediction()), prediction(), BATCH)}
    assert tuple(found) == QUANTITIES
    (changed,) = [d for d in found.values() if d.largest != 0]
    return changed


def off(quantity, place, by):
    def change(before):
        tensor = getattr(before, quantity).clone()
        tensor[place] += by
        return replace(before, **{quantity: tensor})

    return change


@pytest.mark.parametrize(
    ("quantity", "place", "by", "wanted"),
    [
        ("energy", (0,), 0.25, (0.125, 1.0, 0, None, "")),
        ("energy", (1,), -0.25, (0.25, 1.0, 1, None, "")),
        ("forces", (2, 1), 0.25, (0.25, 4.0, 1, 2, "y")),
        ("forces", (1, 2), -0.5, (0.5, 4.0, 0, 1, "z")),
        ("stress", (1, 0, 2), 0.25, (0.25, 1.0, 1, None, "xz")),
        ("atom_energies", (2,), 0.5, (0.5, 10.0, 1, 2, "")),
        ("charges", (1,), 0.5, (0.5, 1.0, 0, 1, "")),
    ],
)
def test_size_scale_and_place_are_those_of_the_planted_difference(quantity, place, by, wanted):
    found = compared(off(quantity, place, by))
    assert (found.quantity, found.found - found.wanted) == (quantity, pytest.approx(by))
    assert (found.largest, found.scale, found.structure, found.atom, found.component) == pytest.approx(wanted)
    limit = found.scaled
    names = {"atom_energies": "energy"}
    for factor, is_within in ((1.001, True), (0.999, False)):
        tolerance = replace(Tolerance(), **{names.get(quantity, quantity): factor * limit})
        assert found.is_within(tolerance) is is_within


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_nan_is_the_largest_difference_and_within_no_tolerance(quantity):
    def change(before):
        tensor = getattr(before, quantity).clone().reshape(-1)
        tensor[0], tensor[-1] = 1e9, math.nan
        return replace(before, **{quantity: tensor.reshape(getattr(before, quantity).shape)})

    found = compared(change)
    assert math.isnan(found.largest)
    assert found.structure == 1
    assert not found.is_within(Tolerance(math.inf, math.inf, math.inf))


def test_a_stress_tolerance_grows_with_stresses_beyond_0_1_only():
    for size, scale in ((0.04, 1.0), (0.1, 1.0), (0.4, 4.0)):
        pressed = replace(prediction(), stress=size * torch.eye(3, dtype=torch.float64).repeat(2, 1, 1))
        (found,) = (d for d in differences(pressed, pressed, BATCH) if d.quantity == "stress")
        assert found.scale == pytest.approx(scale)


def test_the_sentence_names_atom_component_size_and_limit():
    found = compared(off("forces", (2, 1), 0.25))
    assert found.explained(Tolerance(forces=0.01)) == (
        "force y on atom 2 is 4.25000000 eV/Å, wanted 4.00000000 eV/Å; off by 2.50e-01 eV/Å, at most 4.0e-02 is allowed"
    )


def test_only_what_both_hold_is_compared_and_another_shape_is_refused():
    bare = replace(prediction(), stress=None, atom_energies=None, charges=None)
    assert [d.quantity for d in differences(prediction(), bare, BATCH)] == ["energy", "forces"]
    short = replace(prediction(), forces=prediction().forces[:2])
    with pytest.raises(InputError, match=r"forces has shape \(2, 3\), wanted \(3, 3\)"):
        list(differences(short, prediction(), BATCH))


def test_the_largest_of_none_is_zero_and_a_nan_is_not_lost():
    assert largest([]) == 0.0
    assert largest([0.1, 0.3, 0.2]) == 0.3
    assert math.isnan(largest([0.1, math.nan, 0.2]))
    assert math.isnan(largest([math.nan, 0.1]))


def test_tolerances_are_scaled_and_the_looser_of_each_quantity_is_taken():
    assert Tolerance(1.0, 2.0, 3.0).scaled(2.0) == Tolerance(2.0, 4.0, 6.0)
    assert Tolerance(1.0, 5.0, 3.0).looser(Tolerance(2.0, 4.0, 3.0)) == Tolerance(2.0, 5.0, 3.0)
    assert Tolerance(1.0, 2.0, 3.0, 4.0).scaled(2.0) == Tolerance(2.0, 4.0, 6.0, 8.0)
    assert Tolerance(5.0, 2.0, 3.0).looser(Tolerance(1.0, 2.0, 3.0, 4.0)) == Tolerance(5.0, 2.0, 3.0, 5.0)
