"""Harmonic frequencies against closed forms."""

import math

import numpy as np
import pytest
import torch

from mlff_core.judging.physics.frequencies import compare_frequencies, harmonic_frequencies
from mlff_core.judging.physics.trajectory import masses
from mlff_core.structures.batch import single

SPEED_OF_LIGHT = 2.99792458e10  # cm/s
EV, AMU = 1.602176634e-19, 1.66053906892e-27


def test_a_diatomic_vibrates_at_the_root_of_spring_over_reduced_mass(springs):
    pair = single([[0.1, 0.2, 0.3], [0.1, 0.2, 1.5]], [6, 8], dtype=torch.float64)
    mass = masses(pair.atomic_numbers)
    reduced = float(mass[0] * mass[1] / mass.sum()) * AMU
    expected = math.sqrt(20.0 * EV / 1e-20 / reduced) / (2 * math.pi * SPEED_OF_LIGHT)
    found = harmonic_frequencies(springs(k=20.0, r0=1.2), pair)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(expected, rel=1e-5)


def test_an_equilateral_triangle_has_a_breathing_mode_and_a_degenerate_pair(springs):
    # Masses m at the corners, springs k on the sides: ω² = 3k/m once and 3k/2m twice.
    triangle = 1.2 * np.array([[0, 0, 0], [1, 0, 0], [0.5, math.sqrt(3) / 2, 0]])
    molecule = single(triangle, [6, 6, 6], dtype=torch.float64)
    found = harmonic_frequencies(springs(), molecule)
    assert found[2] / found[0] == pytest.approx(math.sqrt(2), rel=1e-4)
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_a_saddle_has_a_negative_entry(springs):
    # A compressed linear chain of three all-connected atoms buckles.
    chain = single([[0.0, 0, 0], [0.8, 0, 0], [1.6, 0, 0]], [6, 6, 6], dtype=torch.float64)
    assert harmonic_frequencies(springs(), chain)[0] < -10


def test_each_potential_is_evaluated_at_its_own_minimum(springs):
    pair = single([[0.0, 0, 0], [1.3, 0, 0]], [6, 6], dtype=torch.float64)
    found, reference = compare_frequencies(springs(k=40.0, r0=1.5), springs(k=20.0, r0=1.2), pair, fmax=1e-5)
    assert found[0] / reference[0] == pytest.approx(math.sqrt(2), rel=1e-4)
