"""Forces, stress and Hessian are derivatives of the energy; nothing jumps at the cutoff."""

import numpy as np
import pytest
import torch

from mlff_core import AtomicBatch, ModelCard, StudentPotential, single
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.zbl import ZBLRepulsion
from mlff_core.testing import structures

SMALL = PaiNNConfig(elements=(1, 6, 7, 8), hidden=16, n_layers=3, n_radial=12, cutoff=4.0)


def potential_of(config=SMALL, seed=3):
    torch.manual_seed(seed)
    card = ModelCard(name="small", elements=config.elements, cutoff=config.cutoff)
    return StudentPotential(PaiNN(config).double(), card, dtype=torch.float64)


@pytest.fixture(scope="module", params=["bessel", "gaussian"])
def student(request):
    return potential_of(PaiNNConfig(**(vars(SMALL) | {"radial_basis": request.param})))


def energy(student, batch):
    return float(student.predict(batch, want=("energy",)).energy)


CASES = ["ethanol", "molecule in a dummy cell", "triclinic crystal", "slab", "cell smaller than the cutoff"]


@pytest.mark.parametrize("name", CASES)
def test_forces_are_the_negative_gradient_of_the_energy(student, name):
    batch = structures.to_batch(structures.all_structures()[name])
    forces = student.predict(batch).forces
    step = 1e-5
    for atom, axis in np.ndindex(min(batch.n_atoms, 4), 3):
        shift = torch.zeros_like(batch.positions)
        shift[atom, axis] = step
        plus = energy(student, batch.with_positions(batch.positions + shift))
        minus = energy(student, batch.with_positions(batch.positions - shift))
        assert float(forces[atom, axis]) == pytest.approx(-(plus - minus) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("name", ["triclinic crystal", "slab", "cell smaller than the cutoff"])
def test_stress_is_the_derivative_of_the_energy_under_strain(student, name):
    batch = structures.to_batch(structures.all_structures()[name])
    stress = student.predict(batch, want=("stress",)).stress[0]
    volume = float(torch.linalg.det(batch.cell[0]).abs())
    step = 1e-5
    derivative = torch.zeros(3, 3, dtype=torch.float64)
    for a, b in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = torch.eye(3, dtype=torch.float64)
            strain[a, b] += sign * step
            strained = AtomicBatch(
                batch.positions @ strain, batch.atomic_numbers, batch.cell @ strain, batch.pbc, batch.system_idx
            )
            energies.append(energy(student, strained))
        derivative[a, b] = (energies[0] - energies[1]) / (2 * step * volume)
    assert float((stress - derivative).abs().max()) < 1e-7
    assert float((stress - stress.T).abs().max()) < 1e-12


def test_a_squeezed_crystal_pushes_and_its_stress_is_negative():
    # With all weights zero only the repulsion is left, and the cell wants to grow.
    student = potential_of()
    for parameter in student.model.parameters():
        parameter.zero_()
    squeezed = single([[0, 0, 0]], [1], np.eye(3) * 0.8, True, dtype=torch.float64)
    stress = student.predict(squeezed, want=("stress",)).stress[0]
    assert float(stress.diagonal().max()) < 0


@pytest.mark.parametrize("name", ["ethanol", "slab", "cell smaller than the cutoff"])
def test_the_hessian_is_the_derivative_of_the_forces(student, name):
    batch = structures.to_batch(structures.all_structures()[name])
    exact = student.hessian(batch)
    assert torch.equal(exact, exact.T)
    step = 1e-4
    flat = batch.positions.reshape(-1)
    for k in range(0, len(flat), 5):
        shift = torch.zeros_like(flat)
        shift[k] = step
        plus = student.predict(batch.with_positions((flat + shift).view(-1, 3))).forces
        minus = student.predict(batch.with_positions((flat - shift).view(-1, 3))).forces
        assert float((exact[k] + (plus - minus).reshape(-1) / (2 * step)).abs().max()) < 1e-4


def test_the_difference_hessian_of_any_potential_agrees_with_the_exact_one():
    student = potential_of()
    batch = structures.to_batch(structures.ethanol())
    by_difference = super(StudentPotential, student).hessian(batch)
    assert float((by_difference - student.hessian(batch)).abs().max()) < 2e-3


def approach(student, distances, numbers=(6, 8, 1)):
    """Energy, force and second derivative of an atom that moves along x past a bonded pair, by distance."""
    rows = []
    for distance in distances:
        batch = single([[0, 0, 0], [-0.5, 0.9, 0.3], [distance, 0, 0]], numbers, dtype=torch.float64)
        rows.append(
            (energy(student, batch), float(student.predict(batch).forces[2, 0]), float(student.hessian(batch)[6, 6]))
        )
    return np.array(rows)


@pytest.mark.parametrize("order", [0, 1, 2], ids=["value", "first derivative", "second derivative"])
def test_nothing_jumps_as_an_atom_crosses_the_cutoff(student, order):
    cutoff = student.card.cutoff
    inside, outside = approach(student, [cutoff - 1e-6, cutoff + 1e-6])
    assert abs(inside[order] - outside[order]) < 1e-4
    # The jump shrinks with the step, so it is none.
    closer = approach(student, [cutoff - 1e-8, cutoff + 1e-8])
    assert abs(closer[0][order] - closer[1][order]) < 1e-6


@pytest.mark.parametrize("order", [0, 1, 2], ids=["value", "first derivative", "second derivative"])
def test_nothing_jumps_where_the_repulsion_ends(order):
    zbl = ZBLRepulsion((1, 6, 8), 5.0).double()
    for pair in ((0, 0), (0, 1), (1, 2), (2, 2)):
        end = 1.0 / float(zbl.inverse_ranges[pair])
        values = []
        for r in (end - 1e-8, end + 1e-8):
            r = torch.tensor([r], dtype=torch.float64, requires_grad=True)
            y = zbl.pair_energies(r, torch.tensor([pair[0]]), torch.tensor([pair[1]])).sum()
            for _ in range(order):
                (y,) = torch.autograd.grad(y, r, create_graph=True)
            values.append(float(y.detach()))
        assert abs(values[0] - values[1]) < 1e-4


def test_a_repulsion_longer_than_the_cutoff_ends_at_the_cutoff():
    # Two caesium atoms repel up to 4.88 Å by their radii, but have no edge beyond 3 Å.
    student = potential_of(PaiNNConfig(elements=(1, 6, 8, 55), hidden=8, n_layers=1, cutoff=3.0))
    inside, outside = approach(student, [3.0 - 1e-6, 3.0 + 1e-6], numbers=(55, 1, 55))
    assert np.abs(inside - outside).max() < 1e-3


def test_edges_beyond_the_cutoff_contribute_nothing():
    from mlff_core import find_neighbors

    student = potential_of()
    batch = structures.to_batch(structures.triclinic_crystal())
    want = ("energy", "forces", "stress")
    given = student.predict(batch, want=want, edges=find_neighbors(batch, 6.0))
    searched = student.predict(batch, want=want)
    for name in want:
        assert float((getattr(given, name) - getattr(searched, name)).abs().max()) < 1e-12
