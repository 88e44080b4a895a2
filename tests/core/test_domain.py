"""The ranges of training data, and the bounds that follow."""

import json
from dataclasses import replace

import pytest

from mlff_core import InputError, ModelCard
from mlff_core.domain import Domain

DOMAIN = Domain(
    atom_energies={1: (-0.25, 4.5), 8: (-1.5, 3.5)},
    reference_energies={1: -13.5, 8: -2041.25},
    distances={(1, 1): 1.2, (1, 8): 0.75},
    largest_force=30.0,
    is_even=True,
    n_structures=5000,
    pure=frozenset({1}),
    margin={"atom_energy": 1.0, "distance": 0.1, "force": 1.5},
)


def test_a_domain_survives_json_and_travels_on_a_card():
    plain = json.loads(json.dumps(DOMAIN.to_dict()))
    assert Domain.from_dict(plain) == DOMAIN
    card = ModelCard("drop", (1, 8), 5.0, domain=plain)
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_a_card_without_a_domain_is_written_as_before():
    assert "domain" not in ModelCard("drop", (1, 8), 5.0).to_dict()


def test_bounds_are_the_ranges_with_their_margin():
    assert DOMAIN.energy_bounds(8) == pytest.approx((-2041.25 - 2.5, -2041.25 + 4.5))
    assert DOMAIN.closest(8, 1) == DOMAIN.closest(1, 8) == pytest.approx(0.65)
    assert DOMAIN.force_bound == pytest.approx(45.0)


def test_no_pair_has_to_stay_farther_apart_than_a_bond():
    assert DOMAIN.closest(1, 1) == pytest.approx(0.62)
    assert DOMAIN.closest(8, 8) == pytest.approx(1.32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atom_energies": {}}, "range of energies"),
        ({"reference_energies": {1: 0.0}}, "reference energy for each"),
        ({"atom_energies": {1: (2.0, 1.0), 8: (0.0, 1.0)}}, "energies of H must be a range"),
        ({"largest_force": float("nan")}, "finite"),
        ({"margin": {"atom_energy": 1.0}}, "margin"),
        ({"margin": {"atom_energy": -1.0, "distance": 0.1, "force": 1.0}}, "negative"),
    ],
)
def test_an_invalid_domain_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(DOMAIN, **change)


@pytest.mark.parametrize("key", ["electrons", "atom_energies", "distances", "largest_force", "margin", "pure"])
def test_a_card_whose_domain_lacks_an_entry_is_refused(key):
    plain = {name: value for name, value in DOMAIN.to_dict().items() if name != key}
    with pytest.raises(InputError, match=key):
        ModelCard("drop", (1, 8), 5.0, domain=plain)
