from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mlff_core.data.hdf5 import Dataset
from mlff_core.errors import InputError
from mlff_core.training.loss import LossConfig, Outputs, loss_sums, penalty


def test_huber_is_the_square_within_delta_and_linear_beyond():
    x = torch.tensor([-0.1, 0.05, 3.0, -3.0], dtype=torch.float64)
    values = penalty(x, "huber", 0.5)
    assert values.tolist() == pytest.approx([0.01, 0.0025, 2 * 0.5 * 3 - 0.25, 2 * 0.5 * 3 - 0.25])
    derivatives = torch.func.vmap(torch.func.grad(lambda y: penalty(y, "huber", 0.5)))(torch.tensor([0.4999, 0.5001]))
    assert derivatives.tolist() == pytest.approx([1.0, 1.0], rel=1e-3)


def _outputs(labels, energy_error=0.0, forces_error=0.0):
    return Outputs(
        energy=labels.energy + energy_error,
        forces=labels.forces + forces_error,
        stress=None,
        atom_energies=torch.zeros(labels.batch.n_atoms),
    )


def test_an_energy_error_counts_by_atom(morse_set):
    labels = Dataset(morse_set).read(np.arange(3))
    n_atoms = torch.tensor(labels.batch.atoms_per_system())
    total, weight = loss_sums(_outputs(labels, 0.3 * n_atoms), labels, LossConfig(kind="mae"))["energy"]
    assert float(total / weight) == pytest.approx(0.3)


def test_a_force_error_counts_by_component(morse_set):
    labels = Dataset(morse_set).read(np.arange(3))
    error = torch.tensor([0.3, 0.0, 0.0])
    total, weight = loss_sums(_outputs(labels, forces_error=error), labels, LossConfig(kind="mse"))["forces"]
    assert float(total / weight) == pytest.approx(0.03)


def test_a_structure_of_double_weight_counts_twice(morse_set):
    labels = Dataset(morse_set).read(np.array([0, 3]))
    heavy = dataclasses.replace(labels, weight=torch.tensor([2.0, 1.0]))
    errors = torch.tensor([0.3, 0.0], dtype=torch.float64) * 3
    total, weight = loss_sums(_outputs(labels, errors), heavy, LossConfig(kind="mae"))["energy"]
    assert float(total / weight) == pytest.approx(0.2)


def test_a_term_of_weight_zero_is_left_out(morse_set):
    labels = Dataset(morse_set).read(np.arange(3))
    assert set(loss_sums(_outputs(labels), labels, LossConfig(energy_weight=0.0))) == {"forces"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"forces_weight": -1.0}, "forces_weight must be 0 to"),
        ({"forces_delta": 0.0}, "forces_delta must be positive"),
        ({"energy_weight": 0.0, "forces_weight": 0.0}, "at least one of energy_weight"),
    ],
)
def test_an_impossible_loss_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LossConfig(**settings)
