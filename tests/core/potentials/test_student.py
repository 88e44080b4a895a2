"""A trained network as a potential."""

import pickle

import pytest
import torch

from mlff_core import InputError, ModelCard, StudentPotential, UnsupportedError, find_neighbors
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.testing import structures

CONFIG = PaiNNConfig(elements=(1, 6, 7, 8), hidden=8, n_layers=2, cutoff=4.0)


def student(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return StudentPotential(PaiNN(CONFIG), ModelCard("drop", CONFIG.elements, CONFIG.cutoff), dtype=dtype, **options)


def test_precision_is_the_potentials_not_the_batchs():
    for dtype in (torch.float32, torch.float64):
        prediction = student(dtype).predict(structures.to_batch(structures.ethanol()))
        assert prediction.forces.dtype == dtype
    single_precision, double = (
        student(dtype).predict(structures.to_batch(structures.ethanol()), want=("energy", "forces"))
        for dtype in (torch.float32, torch.float64)
    )
    assert float((single_precision.forces - double.forces).abs().max()) < 1e-4


def test_the_device_is_the_tensors_own():
    assert student(device="cpu").device == torch.device("cpu")
    potential = student()
    assert potential.predict(structures.to_batch(structures.ethanol())).forces.device == potential.device


def test_the_network_is_frozen_and_in_evaluation():
    potential = student()
    assert not potential.model.training
    assert not any(parameter.requires_grad for parameter in potential.model.parameters())


def test_given_edges_are_used_and_give_the_same():
    potential, batch = student(), structures.to_batch(structures.slab())
    edges = find_neighbors(batch, CONFIG.cutoff)
    assert torch.equal(potential.predict(batch).forces, potential.predict(batch, edges=edges).forces)
    none = edges.select(torch.zeros(edges.n_edges, dtype=torch.bool))
    assert potential.predict(batch, edges=none).forces.abs().max() == 0


def test_a_hessian_checks_what_a_prediction_checks():
    potential = student()
    wrong = structures.ethanol()
    wrong.numbers[0] = 14
    with pytest.raises(UnsupportedError, match="Si"):
        potential.hessian(structures.to_batch(wrong))
    wrong = structures.ethanol()
    wrong.positions[1] = wrong.positions[0]
    with pytest.raises(InputError, match="overlap"):
        potential.hessian(structures.to_batch(wrong))


def test_the_kernel_can_be_named():
    assert student(kernel="reference").kernel.name == "reference"
    with pytest.raises(InputError, match="abacus"):
        student(kernel="abacus")


def test_a_copy_through_a_pickle_has_the_same_kernel_and_numbers():
    one, batch = student(), structures.to_batch(structures.ethanol())
    other = pickle.loads(pickle.dumps(one))
    assert other.kernel.name == one.kernel.name
    assert torch.equal(other.predict(batch).forces, one.predict(batch).forces)
