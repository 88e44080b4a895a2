"""Charges and dipoles of a student: where they come from, how they move with a structure, and their sum."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core import load
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.model.charges import ChargeReadout
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.potentials.ensemble import Ensemble
from mlff_core.potentials.read_charges import ChargeWarning
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import concatenate, single
from mlff_core.structures.dipole import centres_of_mass, dipoles
from mlff_core.structures.neighbors import find_neighbors
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import charged_student, small_student, structures

EXACT = torch.float64


@pytest.fixture
def make_charged():
    """A student with a readout of charges, none of them small, and a card for closed shells where wanted."""

    def make(dtype=EXACT, kernel="auto", closed=False, bias=0.0):
        student = small_student(dtype=dtype, kernel="reference")
        torch.manual_seed(1)
        readout = ChargeReadout(student.model.n_features, 6)
        with torch.no_grad():
            readout[2].weight.mul_(0.02)
            readout[2].bias.fill_(bias)
        student.model.charges = readout.to(dtype)
        card = replace(student.card, spin_multiplicities="closed shell") if closed else student.card
        return StudentPotential(student.model, card, dtype=dtype, kernel=kernel)

    return make


@pytest.fixture
def ethanol():
    return batch_from_atoms(structures.ethanol(), dtype=EXACT)


@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_charges_are_invariant_and_do_not_see_what_is_far(kernel, make_charged, ethanol):
    student = make_charged(kernel=kernel)
    charges = student.predict(ethanol, want=("charges",)).charges
    assert charges.shape == (9,)
    assert float(charges.std()) > 0.001
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=EXACT, generator=torch.Generator().manual_seed(1)))[0]
    turned = student.predict(ethanol.with_positions(ethanol.positions @ rotation + 3.0), want=("charges",)).charges
    torch.testing.assert_close(turned, charges, rtol=0, atol=1e-12)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    shuffled = single(ethanol.positions[order].numpy(), ethanol.atomic_numbers[order].numpy(), dtype=EXACT)
    found = student.predict(shuffled, want=("charges",)).charges
    torch.testing.assert_close(found, charges[order], rtol=0, atol=1e-12)
    far = torch.cat([ethanol.positions, ethanol.positions + 50.0])
    two = single(far.numpy(), ethanol.atomic_numbers.repeat(2).numpy(), dtype=EXACT)
    found = student.predict(two, want=("charges",)).charges
    torch.testing.assert_close(found, charges.repeat(2), rtol=0, atol=1e-12)


def test_a_dipole_is_the_sum_of_charges_times_distances_from_the_centre_of_mass(make_charged, ethanol):
    student = make_charged()
    batch = concatenate([ethanol, ethanol.with_positions(ethanol.positions + torch.tensor([7.0, -4.0, 2.0]))])
    found = student.predict(batch, want=("charges", "dipole"))
    masses = structures.ethanol().get_masses()
    positions, charges = ethanol.positions.numpy(), found.charges[:9].numpy()
    centre = (masses[:, None] * positions).sum(axis=0) / masses.sum()
    np.testing.assert_allclose(centres_of_mass(ethanol)[0].numpy(), centre, atol=1e-12)
    np.testing.assert_allclose(found.dipole[0].numpy(), charges @ (positions - centre), atol=1e-12)
    torch.testing.assert_close(found.dipole[1], found.dipole[0], rtol=0, atol=1e-11)
    assert found.dipole.dtype == torch.float64


def test_the_dipole_of_a_known_pair_is_charge_times_distance():
    pair = single([[0, 0, 0], [0, 0, 2.0]], [1, 1], dtype=EXACT)
    assert dipoles(pair, torch.tensor([-0.5, 0.5])).tolist() == [[0.0, 0.0, 1.0]]


def test_only_what_is_wanted_is_returned(make_charged, ethanol):
    student = make_charged()
    assert student.supports == {"energy", "forces", "stress", "atom_energies", "charges", "dipole"}
    found = student.predict(ethanol)
    assert found.charges is None
    assert found.dipole is None
    assert student.predict(ethanol, want=("dipole",)).charges is None
    assert student.predict(ethanol, want=("charges",)).dipole is None
    everything = student.predict(ethanol, want=("energy", "forces", "atom_energies", "charges", "dipole"))
    assert torch.equal(everything.forces, found.forces)
    moved = everything.to("cpu")
    assert torch.equal(moved.charges, everything.charges)
    assert torch.equal(moved.dipole, everything.dipole)


def test_a_student_without_charges_says_so(ethanol):
    with pytest.raises(UnsupportedError, match="cannot give charges"):
        small_student(dtype=EXACT).predict(ethanol, want=("charges",))


@pytest.mark.parametrize("wrap", [lambda student: student, VerletPotential], ids=["once", "moving"])
def test_a_periodic_structure_has_charges_and_no_dipole(wrap, make_charged):
    student = wrap(make_charged())
    crystal = batch_from_atoms(structures.triclinic_crystal(), dtype=EXACT)
    for _ in range(2):  # the second time the neighbours are known
        assert student.predict(crystal, want=("charges",)).charges.shape == (crystal.n_atoms,)
        with pytest.raises(InputError, match="dipole"):
            student.predict(crystal, want=("dipole",))


def test_moving_structures_and_committees_have_charges_too(make_charged, ethanol):
    student, want = make_charged(), ("charges", "dipole")
    expected = student.predict(ethanol, want=want)
    moving = VerletPotential(student)
    for _ in range(2):
        found = moving.predict(ethanol, want=want)
        assert torch.equal(found.charges, expected.charges)
        assert torch.equal(found.dipole, expected.dipole)
    shifted = make_charged(bias=0.25)
    both = Ensemble([student, shifted]).predict(ethanol, want=want)
    torch.testing.assert_close(both.charges, expected.charges + 0.125, rtol=0, atol=1e-12)
    torch.testing.assert_close(both.dipole, 0.5 * (expected.dipole + shifted.predict(ethanol, want=want).dipole))


def test_charges_come_back_from_a_file(make_charged, ethanol, tmp_path):
    student = make_charged()
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    opened = load(path, device="cpu", dtype="float64")
    expected = student.predict(ethanol, want=("charges",)).charges
    assert torch.equal(opened.predict(ethanol, want=("charges",)).charges, expected)
    model, _ = load_checkpoint(path)
    assert model.charges[0].out_features == 6
    assert model.with_config(replace(model.config, core=0.0)).charges[0].out_features == 6


# The sum of the charges


def test_a_sum_that_is_not_the_given_charge_is_named_once(make_charged, ethanol):
    student = make_charged(closed=True, bias=0.1)
    total = float(make_charged(bias=0.1).predict(ethanol, want=("charges",)).charges.sum())
    assert total > 0.4
    with pytest.warns(ChargeWarning, match=rf"sum to \+{total:.2f} e, but its total charge was given as \+0 e"):
        student.predict(ethanol, want=("charges",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        student.predict(ethanol, want=("dipole",))


def test_the_structure_of_a_batch_is_named(make_charged, ethanol):
    student = make_charged(closed=True, bias=0.1)
    hydrogen = single([[0, 0, 0], [0.74, 0, 0]], [1, 1], dtype=EXACT)
    with pytest.warns(ChargeWarning, match="charges of structure 1 of the batch"):
        student.predict(concatenate([hydrogen, ethanol]), want=("dipole",))


@pytest.mark.parametrize(
    ("closed", "bias", "want"), [(True, 0.1, "forces"), (True, 0.02, "charges"), (False, 0.1, "charges")]
)
def test_there_is_no_warning_where_charges_are_not_read_right_or_unknown(make_charged, ethanol, closed, bias, want):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_charged(closed=closed, bias=bias).predict(ethanol, want=(want,))


def test_the_sum_is_compared_with_the_charge_that_was_given(make_charged, ethanol):
    student = make_charged(bias=1 / 9)
    student.card = replace(student.card, charges="any", spin_multiplicities="closed shell")
    student = StudentPotential(student.model, student.card, dtype=EXACT)
    one = replace(ethanol, charge=torch.tensor([1.0], dtype=EXACT))
    total = float(make_charged(bias=1 / 9).predict(ethanol, want=("charges",)).charges.sum())
    assert abs(total - 1) < 0.3
    found = student._read_charges
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.complete(student.kernel.evaluate(one, find_neighbors(one, 5.0), ("charges",)), one, ("charges",))
    minus = replace(ethanol, charge=torch.tensor([-1.0], dtype=EXACT))
    given = student.kernel.evaluate(minus, find_neighbors(minus, 5.0), ("charges",))
    with pytest.warns(ChargeWarning, match="given as -1 e"):
        found.complete(given, minus, ("charges",))


def test_charges_do_not_come_from_a_stepper(monkeypatch):
    # The steppers of a GPU have no charges; the engines ask for them by the same call as for forces.
    potential, batch = charged_student(dtype=EXACT), batch_from_atoms(structures.ethanol(), dtype=EXACT)
    monkeypatch.setattr(potential, "has_stepper", True)
    running = VerletPotential(potential, 1.0)
    wanted = potential.predict(batch, want=("charges",)).charges
    for _ in range(2):
        found = running.predict(batch, want=iter(("energy", "forces", "charges")))
        torch.testing.assert_close(found.charges, wanted)
