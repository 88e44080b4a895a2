"""Invariances and smoothness hold for a student, and known violations are found."""

import math

import numpy as np
import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.errors import UnsupportedError
from mlff_core.judging.physics.nve import boxed
from mlff_core.judging.physics.symmetry import cutoff_jump, force_consistency, invariances
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import concatenate, single
from mlff_core.structures.prediction import Prediction

CONFIG = PaiNNConfig(elements=(1, 6, 8), hidden=8, n_layers=2, n_radial=6)


def student(model=None):
    torch.manual_seed(0)
    return StudentPotential(
        model or PaiNN(CONFIG), ModelCard("student", CONFIG.elements, CONFIG.cutoff), dtype=torch.float64
    )


@pytest.fixture(name="molecule")
def fixture_molecule():
    positions = np.array([[0.0, 0, 0], [1.2, 0.1, 0], [-0.5, 0.9, 0.3], [-0.5, -0.9, 0.1]])
    return single(positions, [6, 8, 1, 1], dtype=torch.float64)


def test_a_student_is_invariant_in_vacuum_and_in_a_cell(molecule):
    found = invariances(student(), concatenate([molecule, boxed(molecule)]))
    assert set(found) == {"rotation", "inversion", "translation", "permutation", "momentum", "torque"}
    assert max(d.energy for d in found.values()) < 1e-10
    assert max(d.forces for d in found.values()) < 1e-9


def test_a_field_along_z_breaks_rotation_inversion_translation_and_momentum_only(springs, molecule):
    class InField(springs):
        def predict_checked(self, batch, want, edges=None):
            found = super().predict_checked(batch, want, edges)
            heights = torch.zeros(batch.n_systems, dtype=torch.float64)
            heights = heights.index_add(0, batch.system_idx, batch.positions[:, 2].double())
            return Prediction(found.energy + 0.1 * heights, found.forces - torch.tensor([0.0, 0.0, 0.1]))

    found = invariances(InField(), molecule)
    assert found["rotation"].forces > 0.01
    assert found["inversion"].forces == pytest.approx(0.2)
    assert found["translation"].energy > 0.1
    assert found["momentum"].forces == pytest.approx(0.4)
    assert found["permutation"].energy < 1e-12
    assert found["torque"].forces < 1e-10


def test_forces_that_are_not_the_gradient_of_the_energy_are_found(springs, molecule):
    assert force_consistency(springs(), molecule) < 1e-8
    wrong = springs(force_error=torch.tensor([0.0, 0.5, 0.0]))
    assert 0.05 < force_consistency(wrong, molecule) <= 0.5 * 2 + 1e-6


def test_a_force_that_is_not_finite_is_reported_as_such(springs, molecule):
    wrong = springs(force_error=torch.tensor([0.0, math.nan, 0.0]))
    assert math.isnan(force_consistency(wrong, molecule))
    assert math.isnan(invariances(wrong, molecule)["rotation"].forces)


def test_a_student_does_not_jump_at_its_cutoff(molecule):
    jump = cutoff_jump(student(), molecule)
    assert jump.energy < 1e-11
    assert jump.forces < 1e-11


def test_a_filter_bias_added_after_the_envelope_is_found_as_a_jump(molecule):
    class Jumps(PaiNN):
        def forward(self, atomic_numbers, edge_vectors, centers, neighbors):
            energies = super().forward(atomic_numbers, edge_vectors, centers, neighbors)
            inside = (edge_vectors.square().sum(dim=1) < self.cutoff**2).double()
            return energies.index_add(0, centers, 0.01 * inside)

    torch.manual_seed(0)
    assert cutoff_jump(student(Jumps(CONFIG)), molecule).energy == pytest.approx(0.02)


def test_the_jump_of_a_potential_without_cutoff_is_refused(springs, molecule):
    with pytest.raises(UnsupportedError, match="no cutoff"):
        cutoff_jump(springs(), molecule)
