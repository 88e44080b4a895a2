"""A student with a term of another reach, or one that reads the network's features, is still exactly differentiated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.errors import InputError
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.zbl import ZBLRepulsion
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import single
from mlff_core.structures.neighbors import edge_vectors, find_neighbors

CONFIG = PaiNNConfig(elements=(1, 6, 8), hidden=8, n_layers=2, n_radial=6, cutoff=4.0)
CELL = np.array([[5.6, 0.4, 0.0], [0.7, 5.9, 0.3], [-0.5, 0.6, 6.1]])
POSITIONS = np.array([[0.1, 0.2, 0.3], [1.2, 0.4, 0.1], [0.3, 1.5, 1.6], [3.1, 3.3, 2.9], [3.9, 4.0, 3.3]])
NUMBERS = [8, 1, 1, 6, 8]


def potential(*extra, config=CONFIG):
    torch.manual_seed(0)
    model = PaiNN(config, [ZBLRepulsion.make(config), *extra]).double()
    card = ModelCard("with terms", config.elements, model.cutoff)
    return StudentPotential(model, card, dtype=torch.float64, kernel="reference")


def crystal(positions=POSITIONS, cell=CELL):
    return single(positions, NUMBERS, cell, True, dtype=torch.float64)


@pytest.fixture(params=["attraction of 3 Å", "attraction of 4 Å", "attraction of 7 Å", "charges of 7 Å"])
def student(request, make_attraction, make_charges):
    """A student with one more term, shorter than the network, as long, or longer."""
    kind, _, cutoff = request.param.split()[:3]
    return potential({"attraction": make_attraction, "charges": make_charges}[kind](CONFIG, float(cutoff)))


def test_forces_are_the_derivative_of_the_energy(student):
    step = 1e-5
    forces = student.predict(crystal(), want=("forces",)).forces.numpy()
    for atom, axis in ((0, 0), (2, 1), (4, 2)):
        moved = [POSITIONS.copy() for _ in range(2)]
        for sign, positions in zip((1, -1), moved, strict=True):
            positions[atom, axis] += sign * step
        up, down = (float(student.predict(crystal(positions)).energy) for positions in moved)
        assert forces[atom, axis] == pytest.approx(-(up - down) / (2 * step), rel=1e-6, abs=1e-7)


def test_stress_is_the_derivative_in_the_strain_of_a_triclinic_cell(student):
    step = 1e-5
    stress = student.predict(crystal(), want=("stress",)).stress[0].numpy()
    volume = abs(np.linalg.det(CELL))
    for a, b in ((0, 0), (1, 1), (0, 1), (1, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            energies.append(float(student.predict(crystal(POSITIONS @ strain, CELL @ strain)).energy))
        assert stress[a, b] == pytest.approx((energies[0] - energies[1]) / (2 * step) / volume, rel=1e-5, abs=1e-8)


def test_the_hessian_is_the_derivative_of_the_forces(student):
    step = 1e-5
    hessian = student.hessian(crystal()).numpy()
    moved = [POSITIONS.copy() for _ in range(2)]
    moved[0][3, 1] += step
    moved[1][3, 1] -= step
    up, down = (student.predict(crystal(positions), want=("forces",)).forces.numpy() for positions in moved)
    np.testing.assert_allclose(hessian[:, 10], -((up - down) / (2 * step)).reshape(-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cutoff", [3.0, 4.0, 7.0])
def test_a_term_adds_its_own_energy_to_that_of_the_others(make_attraction, cutoff):
    term = make_attraction(CONFIG, cutoff)
    added = potential(term).predict(crystal()).energy - potential().predict(crystal()).energy
    edges = find_neighbors(crystal(), cutoff)
    distances = edge_vectors(crystal(), edges).norm(dim=1)
    depth = float(term.depth)
    # Written out: −½ depth (1 − r/r_c)³ of each directed edge.
    expected = -0.5 * depth * float(((1 - distances / cutoff) ** 3).sum())
    assert float(added) == pytest.approx(expected, rel=1e-9)


def test_the_network_sees_nothing_of_the_edges_that_a_longer_term_asks_for(make_attraction):
    term = make_attraction(CONFIG, 9.0)
    with torch.no_grad():
        term.depth.zero_()
    with_term, without = potential(term), potential()
    assert (with_term.card.cutoff, without.card.cutoff) == (9.0, 4.0)
    a, b = (p.predict(crystal(), want=("energy", "forces")) for p in (with_term, without))
    assert float(a.energy) == pytest.approx(float(b.energy), abs=1e-10)
    torch.testing.assert_close(a.forces, b.forces, rtol=0, atol=1e-10)


def test_weights_of_a_term_are_trained_and_saved_under_its_name(make_attraction):
    model = potential(make_attraction(CONFIG, 7.0)).model.requires_grad_(True)
    assert "terms.attraction.depth" in model.state_dict()
    batch = crystal()
    edges = find_neighbors(batch, model.cutoff)
    model(batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors).sum().backward()
    assert float(model.terms["attraction"].depth.grad.abs()) > 0


def test_a_plain_student_keeps_the_names_of_its_weights():
    assert not [name for name in PaiNN(CONFIG).state_dict() if name.startswith("terms")]


def test_two_terms_of_one_name_are_refused():
    with pytest.raises(InputError, match="must differ, got zbl, zbl"):
        PaiNN(CONFIG, [ZBLRepulsion.make(CONFIG), ZBLRepulsion.make(CONFIG)])


def test_an_inner_region_in_which_nothing_repels_is_refused():
    with pytest.raises(InputError, match=r"'zbl'.*set core = 0"):
        PaiNN(CONFIG, [])
