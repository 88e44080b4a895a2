"""A wrapping potential has the properties of the wrapped one, and sees every prediction."""

from dataclasses import replace

import pytest
import torch

from mlff_core import UnsupportedError, VerletPotential
from mlff_core.potentials.ensemble import Ensemble
from mlff_core.potentials.watched import WatchedPotential
from mlff_core.potentials.wrapping import WrappedPotential
from mlff_core.testing import PairPotential, small_student, structures


@pytest.fixture(scope="module")
def committee():
    return Ensemble([small_student(seed=seed, dtype=torch.float64) for seed in (0, 1)])


class Shifted(WrappedPotential):
    """The energy raised by 1 eV."""

    def predict_checked(self, batch, want, edges=None):
        found = super().predict_checked(batch, want, edges)
        return replace(found, energy=found.energy + 1.0)


@pytest.mark.parametrize(
    "wrap",
    [WrappedPotential, VerletPotential, lambda potential: WatchedPotential(potential, max_forces_std=10.0)],
    ids=["base", "verlet", "watched"],
)
def test_a_wrapper_has_the_wrapped_potentials_properties_and_numbers(committee, wrap):
    wrapped, batch = wrap(committee), structures.to_batch(structures.ethanol())
    for name in ("card", "device", "dtype", "supports", "uses_edges", "selects_edges", "members"):
        assert getattr(wrapped, name) == getattr(committee, name)
    assert torch.allclose(wrapped.predict(batch).forces, committee.predict(batch).forces, rtol=0, atol=1e-12)


def test_a_committee_is_known_by_its_members_through_every_wrapper(committee):
    assert committee.members
    assert VerletPotential(WatchedPotential(committee, max_forces_std=1.0)).members == committee.members
    assert small_student().members == ()
    assert VerletPotential(small_student()).members == ()


def test_every_prediction_goes_through_the_wrapper_with_a_list_too():
    student, batch = small_student(dtype=torch.float64), structures.to_batch(structures.ethanol())
    driven = VerletPotential(Shifted(student))
    bare = student.predict(batch).energy
    for _ in range(3):  # the first searches neighbours and checks, the others do neither
        assert torch.allclose(driven.predict(batch).energy, bare + 1.0, rtol=0, atol=1e-12)


class Stepping(PairPotential):
    has_stepper = True


def test_a_wrapper_has_no_stepper_that_would_bypass_it():
    wrapped, batch = WrappedPotential(Stepping()), structures.to_batch(structures.ethanol())
    assert not wrapped.has_stepper
    with pytest.raises(UnsupportedError, match="no stepper; call predict"):
        wrapped.stepper(batch, 1.0, None)
