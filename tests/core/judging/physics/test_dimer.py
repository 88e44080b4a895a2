"""Dimer curves with walls, wells and holes."""

import numpy as np
import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.judging.physics.dimer import DimerCurve, dimer_curve, dimer_curves
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.potentials.student import StudentPotential

R = np.arange(0.5, 5.5, 0.01)


def curve(energy):
    return DimerCurve((6, 6), R, energy - energy[-1], -np.gradient(energy, R))


def test_a_morse_curve_is_a_wall_with_no_hole():
    found = curve(3.0 * (1 - np.exp(-2.0 * (R - 1.5))) ** 2)
    assert found.is_repulsive
    assert found.hole_depth == pytest.approx(0.0, abs=1e-9)


def test_a_hole_under_the_wall_is_found_with_its_depth():
    # The energy rises to 10 eV at 0.8 Å, then falls by 20 eV/Å down to 0.5 Å.
    found = curve(np.where(R > 0.8, 10.0 * np.clip(1.5 - R, 0, None) / 0.7, 10.0 - 20.0 * (0.8 - R)))
    assert not found.is_repulsive
    assert found.hole_depth == pytest.approx(6.0, abs=0.01)


def test_the_curve_of_springs_is_their_parabola(springs):
    found = dimer_curve(springs(k=10.0, r0=1.0), (1, 8))
    np.testing.assert_allclose(np.diff(found.energy), np.diff(5.0 * (found.distances - 1.0) ** 2), atol=1e-12)
    np.testing.assert_allclose(found.force, -10.0 * (found.distances - 1.0), atol=1e-9)
    assert found.symbols == "H-O"


def test_an_untrained_student_is_repulsive_at_half_an_angstrom():
    torch.manual_seed(0)
    config = PaiNNConfig(elements=(1, 6, 8), hidden=8, n_layers=2, n_radial=6)
    student = StudentPotential(PaiNN(config), ModelCard("s", config.elements, config.cutoff), dtype=torch.float64)
    found = dimer_curves(student)
    assert len(found) == 6
    assert all(one.force[0] > 0 for one in found)
    assert all(one.distances[-1] > 5.0 and abs(one.force[-1]) == 0.0 for one in found)
