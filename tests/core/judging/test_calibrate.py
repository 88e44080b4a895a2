"""Calibrated standard deviations have the right coverage on molecules outside the calibration."""

import numpy as np
import pytest

from mlff_core.judging.calibrate import calibrate
from mlff_core.judging.evaluate import evaluate
from mlff_core.judging.report.page import ReportedModel, page
from mlff_core.potentials.ensemble import Calibration, Ensemble


@pytest.fixture(name="ensemble", scope="module")
def fixture_ensemble(springs):
    # All three are stiffer than the teacher's springs (20): they share an error that their spread does not include.
    return Ensemble([springs(k=21.8), springs(k=22.0), springs(k=22.2)])


def test_the_raw_spread_covers_too_little_and_the_calibrated_one_nine_tenths(ensemble, labelled_file):
    data = labelled_file(n_molecules=40)
    before = evaluate(ensemble, data, "test").to_json()["reliability"]
    assert before["forces"]["0.9"] < 0.1
    after = evaluate(calibrate(ensemble, data, "train"), data, "test").to_json()["reliability"]
    assert 0.85 <= after["forces"]["0.9"] <= 1.0


def test_the_factor_is_the_ratio_of_error_to_spread(ensemble, labelled_file):
    # Every error is 2/20 of the label and every spread 0.2/20 of it, so the 90 % ratio is 10 for all.
    found = calibrate(ensemble, labelled_file(n_molecules=10), None).calibration
    assert found.forces == pytest.approx(10 / 1.6449, rel=1e-2)
    assert found.energy == pytest.approx(10 / 1.6449, rel=1e-2)


def test_calibrating_twice_changes_nothing(ensemble, labelled_file):
    data = labelled_file(n_molecules=10)
    once = calibrate(ensemble, data, None)
    assert calibrate(once, data, None).calibration == once.calibration
    assert once.with_calibration(Calibration()).calibration == Calibration()


def test_the_reliability_plot_is_on_the_page(ensemble, labelled_file):
    evaluation = evaluate(ensemble, labelled_file(n_molecules=4))
    assert "Reliability of the predicted deviations" in page([ReportedModel(evaluation)])


def test_a_potential_without_deviations_has_no_reliability(springs, labelled_file):
    evaluation = evaluate(springs(), labelled_file(n_molecules=4))
    assert evaluation.reliability == {}
    assert evaluation.sample.forces_std is None
    assert np.isfinite(evaluation.metrics["force_mae"])
