"""A bounded student is itself within the bounds, stays within their margin outside, and is smooth between."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from mlff_core.errors import InputError
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.saturation import Saturation
from mlff_core.models.opening import load
from mlff_core.potentials.measurements import forces_along, stress_by_strain
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import single
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import small_student, structures

EXACT = torch.float64


def bounded(potential, lowest=-1.5, highest=0.0, width=0.5, kernel="reference"):
    """The same student with the same bounds for every element: many atoms of the test structures are outside."""
    model = copy.deepcopy(potential.model)
    n = len(model.config.elements)
    model.saturation = Saturation([lowest] * n, [highest] * n, width).to(model.scale)
    return StudentPotential(model, potential.card, dtype=potential.dtype, kernel=kernel)


def learned(potential, batch):
    """Atom energies without reference energies and repulsion, shape (n_atoms,), eV."""
    rest = copy.deepcopy(potential.model)
    rest.scale.zero_()
    rest.saturation = None
    parts = potential, StudentPotential(rest, potential.card, dtype=potential.dtype, kernel="reference")
    whole, terms = (one.predict(batch, want=("atom_energies",)).atom_energies for one in parts)
    return whole - terms


def test_within_the_range_nothing_changes_to_the_last_bit():
    student = small_student(dtype=torch.float32, kernel="reference")
    batch = batch_from_atoms(structures.triclinic_crystal())
    want = ("energy", "forces", "stress", "atom_energies")
    plain, same = student.predict(batch, want=want), bounded(student, -50.0, 50.0).predict(batch, want=want)
    assert all(torch.equal(getattr(plain, name), getattr(same, name)) for name in want)


def test_the_map_is_bounded_rising_and_has_two_continuous_derivatives():
    saturation = Saturation([-1.0], [2.0], 0.5).double()
    y = torch.linspace(-9, 9, 3601, dtype=EXACT, requires_grad=True)
    z = saturation(y, torch.zeros(len(y), dtype=torch.int64))
    (first,) = torch.autograd.grad(z.sum(), y, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), y)
    y, z, first = y.detach(), z.detach(), first.detach()
    assert float(z.min()) >= -1.5
    assert float(z.max()) <= 2.5
    assert bool((first >= 0).all())
    spacing = float(y[1] - y[0])
    # A jump of a derivative would not shrink with the spacing: the next derivative bounds the difference of neighbours.
    assert float(first.diff().abs().max()) < 4 * spacing
    assert float(second.diff().abs().max()) < 20 * spacing
    assert torch.equal(z[(y >= -1) & (y <= 2)], y[(y >= -1) & (y <= 2)])
    assert torch.equal(first[(y >= -1) & (y <= 2)], torch.ones_like(first[(y >= -1) & (y <= 2)]))


def test_the_derivative_is_right_at_the_very_ends_of_the_range():
    y = torch.tensor([-1.0, 2.0], dtype=EXACT, requires_grad=True)
    z = Saturation([-1.0], [2.0], 0.5).double()(y, torch.zeros(2, dtype=torch.int64))
    assert torch.autograd.grad(z.sum(), y)[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("y", [-torch.inf, -1e30, 1e30, torch.inf])
def test_an_energy_that_overflows_is_bounded_and_has_no_force(y):
    energy = torch.tensor([y], requires_grad=True)
    bound = Saturation([-1.0], [2.0], 0.5)(energy, torch.zeros(1, dtype=torch.int64))
    assert float(bound.detach()) == (-1.5 if y < 0 else 2.5)
    assert float(torch.autograd.grad(bound, energy)[0]) == 0.0


@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_forces_and_stress_are_derivatives_of_the_bounded_energy(kernel):
    student = bounded(small_student(dtype=EXACT, kernel="reference"), kernel=kernel)
    batch = batch_from_atoms(structures.triclinic_crystal(), dtype=EXACT)
    energies = learned(bounded(student), batch)
    outside = (energies < -1.5) | (energies > 0.0)
    assert 0 < int(outside.sum()) < len(outside), "atoms on both sides of a bound"
    found = student.predict(batch, want=("forces", "stress"))
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        direction = torch.randn(batch.positions.shape, generator=generator, dtype=EXACT)
        by_difference, along = forces_along(student, batch, found.forces, direction, 1e-4)
        torch.testing.assert_close(by_difference, along, rtol=1e-7, atol=1e-8)
    for a, b in ((0, 0), (0, 1), (2, 1)):
        strained = stress_by_strain(student, batch, a, b, 1e-4)
        torch.testing.assert_close(found.stress[:, a, b], strained, rtol=1e-6, atol=1e-9)


def test_the_hessian_is_the_derivative_of_the_forces():
    student = bounded(small_student(dtype=EXACT, kernel="reference"))
    batch = batch_from_atoms(structures.ethanol(), dtype=EXACT)
    hessian, step = student.hessian(batch), 1e-4
    direction = torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(2), dtype=EXACT)

    def forces(factor):
        return student.predict(batch.with_positions(batch.positions + factor * step * direction)).forces.reshape(-1)

    by_difference = -(forces(-2) - 8 * forces(-1) + 8 * forces(1) - forces(2)) / (12 * step)
    torch.testing.assert_close(hessian @ direction.reshape(-1), by_difference, rtol=1e-6, atol=1e-6)


def test_energies_are_invariant_and_add_up():
    student = bounded(small_student(dtype=EXACT, kernel="reference"))
    batch = batch_from_atoms(structures.ethanol(), dtype=EXACT)
    energy = float(student.predict(batch).energy)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=EXACT, generator=torch.Generator().manual_seed(1)))[0]
    assert float(student.predict(batch.with_positions(batch.positions @ rotation)).energy) == pytest.approx(
        energy, 1e-13
    )
    far = torch.cat([batch.positions, batch.positions + 50.0])
    two = single(far.numpy(), batch.atomic_numbers.repeat(2).numpy(), dtype=EXACT)
    assert float(student.predict(two).energy) == pytest.approx(2 * energy, rel=1e-13)


def test_soups_and_compressions_do_not_fall_below_the_bound():
    shipped = load("organic-ultra-tiny", device="cpu", dtype="float64", kernel="reference", guard="off")
    student = bounded(shipped, -6.0, 1.0, 1.0)
    rng = np.random.default_rng(0)
    methane = np.array(
        [[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]]
    )
    made = [single(methane * factor, [6, 1, 1, 1, 1], dtype=EXACT) for factor in (0.9, 0.7, 0.6, 0.5)]
    for _ in range(20):
        points: list[np.ndarray] = []
        while len(points) < 12:
            point = rng.uniform(0, 3.0, 3)
            if all(np.linalg.norm(point - other) > 0.6 for other in points):
                points.append(point)
        numbers = rng.choice([1, 6, 7, 8], 12)
        numbers[0] = 1 if numbers[1:].sum() % 2 else 6  # an even number of electrons
        made.append(single(np.array(points), numbers, dtype=EXACT))
    falls = 0
    for batch in made:
        assert float(learned(student, batch).min()) >= -7.0 - 1e-9
        floor = (
            student.model.reference_energies[student.model.species_of_number[batch.atomic_numbers]].sum()
            - 7.0 * batch.n_atoms
        )
        assert float(student.predict(batch).energy) >= float(floor)
        falls += float(learned(shipped, batch).min()) < -7.0
    assert falls, "without the bound some of them fall"


@pytest.mark.parametrize(
    ("lowest", "highest", "width"),
    [
        ([0.0], [-1.0], 1.0),
        ([0.0], [1.0, 2.0], 1.0),
        ([0.0], [1.0], 0.0),
        ([0.0], [1.0], float("inf")),
        ([float("nan")], [1.0], 1.0),
    ],
)
def test_bounds_that_are_no_ranges_are_refused(lowest, highest, width):
    with pytest.raises(InputError, match="bounds of energies"):
        Saturation(lowest, highest, width)


def test_a_student_with_another_core_keeps_its_bounds():
    torch.manual_seed(0)
    model = PaiNN(PaiNNConfig(elements=(1, 8), hidden=8, n_radial=4))
    model.saturation = Saturation([-1.0, -2.0], [1.0, 2.0], 0.5)
    other = model.with_config(PaiNNConfig(elements=(1, 8), hidden=8, n_radial=4, core=0.0))
    assert other.saturation is not None
    assert other.saturation.lowest.tolist() == [-1.0, -2.0]
