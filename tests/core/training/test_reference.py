from __future__ import annotations

import numpy as np
import pytest

from mlff_core.data.hdf5 import Dataset
from mlff_core.errors import InputError
from mlff_core.training.reference import composition, fit_reference_energies, fit_scale


def test_energies_that_are_sums_over_elements_are_found_exactly():
    counts = np.array([[2.0, 0, 1], [4, 1, 0], [4, 1, 1], [2, 2, 3]])
    truth = np.array([-13.6, -1030.0, -2040.0])
    np.testing.assert_allclose(fit_reference_energies(counts, counts @ truth), truth, rtol=1e-9)


def test_a_single_molecule_gets_reference_energies_that_sum_to_its_mean():
    counts = np.tile([6.0, 2.0, 1.0], (5, 1))
    energies = -300.0 + np.array([-0.2, -0.1, 0.0, 0.1, 0.2])
    fitted = fit_reference_energies(counts, energies)
    assert counts[0] @ fitted == pytest.approx(-300.0, abs=1e-9)
    np.testing.assert_allclose(fitted, -300.0 / 9)


def test_composition_counts_the_atoms_of_each_element(morse_set):
    counts = composition(Dataset(morse_set), np.arange(3), (1, 6, 8))
    assert counts.tolist() == [[2, 0, 1], [4, 1, 0], [4, 1, 1]]


def test_an_element_the_model_does_not_support_is_named(morse_set):
    with pytest.raises(InputError, match="atomic number 8"):
        composition(Dataset(morse_set), np.arange(3), (1, 6))


def test_the_scale_is_the_typical_size_of_a_force_component(morse_set):
    dataset = Dataset(morse_set)
    sizes = [float(np.sqrt((s.forces.astype(float) ** 2).mean())) for s in dataset.structures()]
    assert fit_scale(dataset, np.arange(len(dataset))) == pytest.approx(float(np.median(sizes)), rel=0.05)
