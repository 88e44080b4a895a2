"""The card."""

import json

import numpy as np
import pytest
import torch

from mlff_core import InputError, ModelCard
from mlff_core.card import CLOSED_SHELL


def test_a_card_survives_json():
    card = ModelCard(
        "drop", (1, 8), 5, limits=("no ions",), metrics={"force_mae": 0.1, "by_element": {"H": [0.1, 0.2]}}
    )
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    assert card.symbols == ("H", "O")


def test_numbers_of_numpy_and_torch_become_plain():
    card = ModelCard(
        "drop",
        np.array([1, 8]),
        np.float32(5),
        metrics={"a": np.float64(0.5), "b": np.arange(2), "c": torch.tensor(1.5)},
    )
    plain = card.to_dict()
    assert plain["metrics"] == {"a": 0.5, "b": [0, 1], "c": 1.5}
    assert type(plain["metrics"]["a"]) is float
    assert plain["elements"] == [1, 8]


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(InputError, match="object"):
        ModelCard("drop", (1,), 5.0, training={"callback": object()}).to_dict()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": 3}, {"elements": ()}, {"elements": (0,)}, {"elements": (119,)}, {"elements": "HO"},
        {"cutoff": -1.0}, {"cutoff": float("nan")}, {"cutoff": "far"}, {"charges": "some"},
        {"spin_multiplicities": "doublet"}, {"units": {"length": "nm", "energy": "eV"}},
        {"units": None}, {"metrics": None}, {"teacher": 3}, {"n_parameters": "many"}, {"n_parameters": -1},
        {"description": None}, {"created": 2026}, {"limits": "far"}, {"limits": [3]},
    ],
    ids=str,
)  # fmt: skip
def test_a_meaningless_card_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        ModelCard(**({"name": "drop", "elements": (1, 8), "cutoff": 5.0} | wrong))


def test_a_dict_with_unknown_or_missing_keys_is_no_card():
    with pytest.raises(InputError, match=r"unknown keys.*colour"):
        ModelCard.from_dict({"name": "drop", "elements": [1], "cutoff": 5.0, "colour": "blue"})
    with pytest.raises(InputError, match="lacks 'cutoff'"):
        ModelCard.from_dict({"name": "drop", "elements": [1]})


@pytest.mark.parametrize(
    ("elements", "limits", "spin_multiplicities"),
    [
        ((1, 6, 8), (CLOSED_SHELL, "Small."), "closed shell"),
        ((1, 6, 8), ("Small.",), "singlet"),
        ((13, 29), (CLOSED_SHELL,), "singlet"),
    ],
)
def test_a_student_of_an_earlier_version_is_closed_shell_unless_it_knows_metals(elements, limits, spin_multiplicities):
    plain = {"name": "old", "elements": elements, "cutoff": 5.0, "spin_multiplicities": "singlet", "limits": limits}
    assert ModelCard.from_dict(plain).spin_multiplicities == spin_multiplicities
