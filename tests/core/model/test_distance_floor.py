"""Inside the core of a pair the filters see a constant distance, and only the repulsion acts along it."""

import pytest
import torch

from mlff_core.model.derivatives import energies_and_edge_gradients
from mlff_core.model.distance_floor import CORE_WIDTH, held_distances
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.structures.batch import single
from mlff_core.structures.neighbors import edge_vectors, find_neighbors

LENGTH = 1.4


def held(distances, core=0.7):
    return held_distances(distances, torch.full_like(distances, 1 / LENGTH), core)


def test_outside_the_core_a_distance_is_unchanged_to_the_last_bit():
    for dtype in (torch.float32, torch.float64):
        r = torch.linspace(0.7 * LENGTH + 1e-6, 5.0, 5000, dtype=dtype)
        assert torch.equal(held(r), r)


def test_deep_inside_the_core_a_distance_is_constant():
    r = torch.linspace(0.01, (0.7 - CORE_WIDTH) * LENGTH, 500, dtype=torch.float64)
    assert float(held(r).max() - held(r).min()) < 1e-14


def test_a_held_distance_grows_with_the_true_one_and_has_three_continuous_derivatives():
    r = torch.linspace(0.6, 1.1, 4001, dtype=torch.float64, requires_grad=True)
    steps = []
    value = held(r)
    for order in range(4):
        steps.append(float((value[1:] - value[:-1]).detach().abs().max()))
        if order == 1:
            assert float(value.detach().min()) >= 0
            assert float(value.detach().max()) == pytest.approx(1.0, abs=1e-9)
        if order < 3:
            (value,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    # No step is longer than the spacing times the largest derivative, 60 for the third derivative: there is no jump.
    spacing = 0.5 / 4000
    for order, step in enumerate(steps):
        assert step < 60 * spacing / (CORE_WIDTH * LENGTH) ** order


def test_the_derivative_of_a_held_distance_is_that_of_its_values():
    r = torch.linspace(0.7, 1.05, 50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(held, (r,))


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_two_atoms_deep_in_the_core_feel_only_the_repulsion_for_any_network(scale):
    torch.manual_seed(0)
    model = PaiNN(PaiNNConfig(hidden=8, n_layers=2, n_radial=6)).double()
    model.scale.fill_(scale)
    batch = single([[0, 0, 0], [0.5, 0.2, 0.1]], [15, 8], dtype=torch.float64)
    edges = find_neighbors(batch, 5.0)
    vectors = edge_vectors(batch, edges).requires_grad_(True)
    _, gradients = energies_and_edge_gradients(model, batch.atomic_numbers, vectors, edges.centers, edges.neighbors)
    species = model.species_of_number[batch.atomic_numbers]
    free = vectors.detach().requires_grad_(True)
    repulsion = model.zbl.pair_energies(free.norm(dim=1), species[edges.centers], species[edges.neighbors]).sum()
    (expected,) = torch.autograd.grad(repulsion, free)
    # Across the line the two edges' gradients cancel, since the energy cannot depend on how the pair is turned.
    pull = gradients[0] - gradients[1]
    wanted = expected[0] - expected[1]
    assert torch.allclose(pull, wanted, rtol=1e-9, atol=1e-9 * scale)


def test_without_a_core_the_network_acts_there_too():
    torch.manual_seed(0)
    model = PaiNN(PaiNNConfig(hidden=8, n_layers=2, n_radial=6, core=0.0)).double()
    same = PaiNN(PaiNNConfig(hidden=8, n_layers=2, n_radial=6)).double()
    same.load_state_dict(model.state_dict())
    near = single([[0, 0, 0], [0.5, 0.2, 0.1]], [15, 8], dtype=torch.float64)
    apart = single([[0, 0, 0], [1.5, 0.2, 0.1]], [15, 8], dtype=torch.float64)
    for batch, is_same in ((near, False), (apart, True)):
        edges = find_neighbors(batch, 5.0)
        inputs = (batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors)
        assert torch.equal(model(*inputs), same(*inputs)) == is_same
