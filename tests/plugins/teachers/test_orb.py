"""Orb's own loader on saved random weights."""

from __future__ import annotations

import warnings
from typing import ClassVar

import pytest
import torch

from mlff_core.errors import InputError
from mlff_core.plugins import host as plugins
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import structures
from mlff_core.testing.teacher_contract import TeacherContract

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("orb_models", reason="orb-models is not installed")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("orb") / "orb-v2-random.ckpt"
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        from orb_models.forcefield.pretrained import orb_v2_architecture

        torch.manual_seed(0)
        torch.save(orb_v2_architecture(device="cpu").state_dict(), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def options_of_the_contract(weights):
    TestOrbV2.options = {"weights_path": str(weights), "device": "cpu"}


class TestOrbV2(TeacherContract):
    teacher = "orb"
    options: ClassVar[dict[str, str]] = {}
    # Random weights know no bond.
    test_a_bond_has_the_experimental_stiffness = None


def test_the_card_says_that_direct_forces_are_not_the_gradient(weights):
    card = plugins.teacher("orb").load({"weights_path": weights, "device": "cpu"}).card
    assert card.teacher["settings"]["conservative"] is False
    assert "not the gradient" in card.limits[0]


def test_weights_must_be_given_and_nothing_is_downloaded():
    with pytest.raises(InputError, match="weights_path"):
        plugins.teacher("orb").load({})
    with pytest.raises(InputError, match="no file"):
        plugins.teacher("orb").load({"weights_path": "https://example.org/orb.ckpt"})


def test_weights_of_something_else_are_refused(tmp_path):
    other = tmp_path / "other.ckpt"
    torch.save({"weight": torch.zeros(3)}, other)
    with pytest.raises(InputError, match="does not hold weights of orb-v2"):
        plugins.teacher("orb").load({"weights_path": other, "device": "cpu"})


def test_labels_do_not_depend_on_torchs_default_dtype(weights):
    orb = plugins.teacher("orb").load({"weights_path": weights, "device": "cpu"})
    batch = batch_from_atoms(structures.ethanol())
    wanted = orb.predict(batch)
    try:
        torch.set_default_dtype(torch.float64)  # noqa: TID251 - what is tested
        found = orb.predict(batch)
    finally:
        torch.set_default_dtype(torch.float32)  # noqa: TID251
    torch.testing.assert_close(found.forces, wanted.forces)
