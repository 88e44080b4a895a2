"""The metrics against numbers computed by hand."""

import numpy as np
import pytest

from mlff_core.judging import metrics


def test_force_metrics_are_those_computed_by_hand():
    reference = [[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0]]
    predicted = [[3.0, 4.0, 0.0], [-3.0, 0.0, 0.0]]
    got = metrics.force_metrics(reference, predicted)
    # One error of 4 among six components; the sum of squares about the mean 0 is 9 + 9.
    assert got["force_mae"] == pytest.approx(4 / 6)
    assert got["force_rmse"] == pytest.approx(np.sqrt(16 / 6))
    assert got["force_r2"] == pytest.approx(1 - 16 / 18)
    assert got["force_angle_mean_deg"] == pytest.approx(np.degrees(np.arctan2(4, 3)) / 2)
    assert got["force_angle_median_deg"] == pytest.approx(np.degrees(np.arctan2(4, 3)) / 2)


def test_the_mean_of_the_reference_is_subtracted_in_r2():
    reference = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    got = metrics.force_metrics(reference, reference + 0.1)
    assert got["force_r2"] == pytest.approx(1 - 6 * 0.01 / (6 * 0.25))


def test_forces_of_right_length_and_wrong_direction_affect_all_but_the_magnitude_r2():
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(500, 3))
    got = metrics.force_metrics(reference, -reference)
    assert got["force_r2_magnitude"] == pytest.approx(1.0)
    assert got["force_r2"] < -2.5
    assert got["force_angle_mean_deg"] == pytest.approx(180.0)


def test_atoms_below_the_threshold_have_no_angle():
    got = metrics.force_metrics([[0.05, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 0.05, 0.0], [1.0, 0.0, 0.0]])
    assert got["force_angle_mean_deg"] == 0.0


def test_a_predicted_force_of_zero_counts_as_a_right_angle():
    assert metrics.force_metrics([[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]])["force_angle_mean_deg"] == 90.0


def test_equal_forces_have_no_r2():
    assert np.isnan(metrics.force_metrics([[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.1]])["force_r2"])


def test_energy_errors_are_taken_per_atom():
    got = metrics.metrics_of(metrics.energy_sums([0.02, -0.06], [2, 3]).sum(axis=0))
    assert got["energy_mae_mev_per_atom"] == pytest.approx((10 + 20) / 2)
    assert got["energy_rmse_mev_per_atom"] == pytest.approx(np.sqrt((100 + 400) / 2))


def test_relative_energies_do_not_depend_on_an_offset_of_a_molecule():
    errors = np.array([10.0, 10.0, -5.0, -5.02, 7.0])
    got = metrics.metrics_of(metrics.energy_sums(errors, [2, 2, 4, 4, 2], groups=[0, 0, 1, 1, 2]).sum(axis=0))
    # Molecule 0: no error; molecule 1: ±0.01 eV over 4 atoms; molecule 2 has one structure and does not count.
    assert got["relative_energy_mae_mev_per_atom"] == pytest.approx((0 + 0 + 2.5 + 2.5) / 4)
    assert got["energy_mae_mev_per_atom"] > 1000


def test_sums_of_pieces_give_the_metrics_of_the_whole():
    rng = np.random.default_rng(2)
    reference = rng.normal(size=(301, 3))
    predicted = reference + 0.1 * rng.normal(size=(301, 3))
    owners = rng.integers(7, size=301)
    pieces = metrics.force_sums(reference, predicted, owners, 7)
    whole = metrics.force_metrics(reference, predicted)
    for name, value in metrics.metrics_of(pieces.sum(axis=0)).items():
        if "force" in name:
            assert value == pytest.approx(whole[name])
    counts = metrics.angle_histogram(reference[:100], predicted[:100])
    counts = counts + metrics.angle_histogram(reference[100:], predicted[100:])
    assert metrics.histogram_median_deg(counts) == pytest.approx(whole["force_angle_median_deg"], abs=0.05)


def test_metrics_by_owner_are_those_of_its_atoms_alone():
    rng = np.random.default_rng(3)
    reference, predicted = rng.normal(size=(2, 60, 3))
    owners = np.repeat([0, 1, 2], 20)
    by_owner = metrics.metrics_of(metrics.force_sums(reference, predicted, owners, 3))
    alone = metrics.force_metrics(reference[owners == 1], predicted[owners == 1])
    assert by_owner["force_rmse"][1] == pytest.approx(alone["force_rmse"])
    assert by_owner["force_r2"][1] == pytest.approx(alone["force_r2"])


def correlated_molecules(rng, n_molecules):
    """Twenty structures per molecule with strongly correlated energy errors, as in real data."""
    size = np.repeat(rng.exponential(0.1, n_molecules), 20)
    errors = size * rng.choice([-1.0, 1.0], n_molecules * 20)
    return np.repeat(np.arange(n_molecules), 20), errors


def test_intervals_over_molecules_cover_the_truth_where_intervals_over_structures_do_not():
    rng = np.random.default_rng(4)
    truth, hits, naive_hits, n_trials = 100.0, 0, 0, 150
    for trial in range(n_trials):
        molecule, errors = correlated_molecules(rng, 60)
        rows = metrics.energy_sums(errors, np.ones(len(errors)))
        sums = np.stack([np.bincount(molecule, weights=column) for column in rows.T], axis=1)
        low, high = metrics.bootstrap_intervals(sums, n_resamples=200, level=0.9, seed=trial)["energy_mae_mev_per_atom"]
        hits += low <= truth <= high
        low, high = metrics.bootstrap_intervals(rows, n_resamples=40, level=0.9, seed=trial)["energy_mae_mev_per_atom"]
        naive_hits += low <= truth <= high
    assert 0.80 <= hits / n_trials <= 0.97
    assert naive_hits / n_trials < 0.5


def test_numbers_that_are_not_finite_become_null_in_json():
    assert metrics.rounded({"a": float("nan"), "b": 1.23456789}, digits=3) == {"a": None, "b": 1.23}


def test_a_single_molecule_has_no_interval():
    sums = metrics.force_sums([[3.0, 0, 0], [-3.0, 0, 0]], [[2.0, 0, 0], [-3.0, 0, 0]])
    low, high = metrics.bootstrap_intervals(sums.sum(axis=0, keepdims=True))["force_mae"]
    assert np.isnan(low)
    assert np.isnan(high)
