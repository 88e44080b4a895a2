"""What every potential returns and refuses, with and without a Verlet list."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core import InputError, ModelCard, StudentPotential, UnsupportedError, VerletPotential, concatenate, single
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.testing import structures

WATER = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]


def student(**card):
    torch.manual_seed(0)
    config = PaiNNConfig(elements=(1, 6, 7, 8), hidden=8, n_layers=2, cutoff=4.0)
    return StudentPotential(
        PaiNN(config).double(), ModelCard("drop", config.elements, config.cutoff, **card), dtype=torch.float64
    )


@pytest.fixture(scope="module", params=["bare", "under a skin"])
def potential(request):
    return student() if request.param == "bare" else VerletPotential(student())


@pytest.fixture(scope="module", params=["bare", "under a skin"])
def closed_shell(request):
    model = student(spin_multiplicities="closed shell")
    return model if request.param == "bare" else VerletPotential(model)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (single(WATER, [8, 1, 14]), UnsupportedError, "drop does not know Si; it was made for H C N O"),
        (single(WATER, [8, 1, 0]), UnsupportedError, "drop does not know 0;"),
        (single(WATER, [8, 1, 1], charge=-1), UnsupportedError, r"total charge is -1 e.*neutral"),
        (single(WATER, [8, 1, 1], spin_multiplicity=3), UnsupportedError, r"singlets.* 3"),
        (
            single(WATER[:2], [8, 1]),
            UnsupportedError,
            r"^drop was made for closed shells, but at a total charge of \+0 e the structure has 9 electrons",
        ),
        (
            concatenate([single(WATER, [8, 1, 1]), single(WATER[:2], [8, 1])]),
            UnsupportedError,
            "^structure 1 of the batch: drop was made for closed shells.* 9 electrons",
        ),
        (single(WATER, [8, 1, 1], charge=0.5), InputError, "whole number of e, got 0.5"),
        (single([[0, 0, 0], [np.nan, 0, 0]], [1, 1]), InputError, "finite.*atom 1"),
        (single([[0, 0, 0], [0, np.inf, 0]], [1, 1]), InputError, "finite.*atom 1"),
        (single(WATER, [8, 1, 1], np.full((3, 3), np.nan), True), InputError, "cell must be finite"),
        (single(np.zeros((0, 3)), []), InputError, "empty"),
        (single([[0, 0, 0], [1, 0, 0], [1.1, 0.1, 0]], [8, 1, 1]), InputError, r"atoms 1 and 2 overlap.*0.141 Å"),
        (single([[0, 0, 0]], [8], np.diag([0.2, 9, 9]), True), InputError, "atoms 0 and 0 overlap"),
        (single([[0, 0, 0], [0, 0, 0]], [8, 8]), InputError, "overlap.*0.000 Å"),
        (single(WATER, [8, 1, 1], np.diag([5.0, 5, 0]), True), InputError, "no volume"),
    ],
)
def test_unsupported_input_is_refused_in_one_line(closed_shell, batch, error, message):
    with pytest.raises(error, match=message) as caught:
        closed_shell.predict(batch)
    assert "\n" not in str(caught.value)


def test_neutral_singlets_may_be_declared(closed_shell):
    plain = closed_shell.predict(single(WATER, [8, 1, 1]))
    declared = closed_shell.predict(single(WATER, [8, 1, 1], charge=0, spin_multiplicity=1))
    assert torch.equal(plain.energy, declared.energy)


def test_a_potential_for_any_charge_lets_charges_through():
    student(charges="any", spin_multiplicities="any").predict(single(WATER, [8, 1, 1], charge=1, spin_multiplicity=2))


def test_the_electrons_of_an_ion_are_counted_with_its_charge():
    model = student(charges="any", spin_multiplicities="closed shell")
    hydroxide = single(WATER[:2], [8, 1], charge=-1)
    for potential in (model, VerletPotential(model)):
        potential.predict(hydroxide)
        with pytest.raises(UnsupportedError, match="at a total charge of -2 e the structure has 11 electrons"):
            potential.predict(replace(hydroxide, charge=torch.tensor([-2.0])))
        two = concatenate([hydroxide, single(WATER, [8, 1, 1])])
        potential.predict(two)
        with pytest.raises(UnsupportedError, match=r"structure 1 .* \+1 e the structure has 9 electrons"):
            potential.predict(replace(two, charge=torch.tensor([-1.0, 1.0])))


@pytest.mark.parametrize("spin_multiplicities", ["singlet", "any"])
def test_a_card_that_says_nothing_of_closed_shells_takes_any_number_of_electrons(spin_multiplicities):
    student(spin_multiplicities=spin_multiplicities).predict(single(WATER[:2], [8, 1]))


def test_a_model_without_spin_refuses_a_multiplicity():
    with pytest.raises(UnsupportedError, match="drop was made for singlets, but the spin multiplicity is 2"):
        student().predict(single(WATER[:2], [8, 1], spin_multiplicity=2))


@pytest.mark.parametrize(
    ("want", "error", "message"),
    [
        (("energy", "force"), InputError, r"unknown property \['force'\]; known are energy, forces"),
        (("energy_std",), UnsupportedError, "drop cannot give energy_std; it gives atom_energies, energy, forces"),
        (("stress",), InputError, "stress needs a periodic cell"),
    ],
)
def test_an_unavailable_property_is_refused(potential, want, error, message):
    with pytest.raises(error, match=message):
        potential.predict(single(WATER, [8, 1, 1]), want=want)


def test_a_dummy_cell_gives_no_stress(potential):
    with pytest.raises(InputError, match="stress"):
        potential.predict(structures.to_batch(structures.molecule_in_dummy_cell()), want=("stress",))


def test_only_wanted_properties_are_returned_and_the_energy_always(potential):
    batch = structures.to_batch(structures.triclinic_crystal())
    for want in ("energy", ("forces",), ("stress",), ("atom_energies", "stress")):
        prediction = potential.predict(batch, want=want)
        names = {want} if isinstance(want, str) else set(want)
        there = {n for n in ("energy", "forces", "stress", "atom_energies") if getattr(prediction, n) is not None}
        assert there == names | {"energy"}


def test_a_hessian_is_of_one_structure(potential):
    two = concatenate([single(WATER, [8, 1, 1]), single(WATER, [8, 1, 1])])
    with pytest.raises(InputError, match="batch of 2"):
        potential.hessian(two)


def test_predicting_leaves_inputs_and_torch_as_they_were():
    potential, batch = student(), structures.to_batch(structures.triclinic_crystal())
    before = [t.clone() for t in (batch.positions, batch.cell)]
    state, grad, dtype = torch.random.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype()
    with torch.no_grad():
        first = potential.predict(batch, want=("energy", "forces", "stress"))
    again = potential.predict(batch, want=("energy", "forces", "stress"))
    assert torch.equal(first.forces, again.forces)
    assert not again.forces.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, (batch.positions, batch.cell), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    assert (grad, dtype) == (torch.is_grad_enabled(), torch.get_default_dtype())


def test_a_checked_prediction_is_the_prediction(potential):
    batch = single(WATER, [8, 1, 1], dtype=torch.float64)
    want = frozenset({"energy", "forces"})
    found, wanted = potential.predict_checked(batch, want), potential.predict(batch, want=want)
    assert torch.equal(found.energy, wanted.energy)
    assert torch.allclose(found.forces, wanted.forces, rtol=0, atol=1e-12)
