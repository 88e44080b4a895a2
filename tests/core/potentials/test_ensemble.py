"""Ensembles return the mean of their members, and calibrated spreads have the stated coverage."""

import numpy as np
import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.errors import InputError
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.potentials.ensemble import Calibration, Ensemble, coverage, fit_scale
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import single

CONFIG = PaiNNConfig(elements=(1, 8), hidden=8, n_layers=2, n_radial=6)


def member(seed, elements=(1, 8), dtype=torch.float64):
    torch.manual_seed(seed)
    config = PaiNNConfig(elements=elements, hidden=8, n_layers=2, n_radial=6)
    return StudentPotential(PaiNN(config), ModelCard(f"m{seed}", elements, 5.0, n_parameters=10), dtype=dtype)


@pytest.fixture(name="water")
def fixture_water():
    return single([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1], dtype=torch.float64)


def test_the_ensemble_is_the_mean_and_the_sample_deviation_of_its_members(water):
    members = [member(k) for k in range(3)]
    found = Ensemble(members, Calibration(energy=2.0, forces=3.0)).predict(
        water, want=("energy", "forces", "energy_std", "forces_std")
    )
    alone = [one.predict(water) for one in members]
    energies = torch.stack([one.energy for one in alone])
    forces = torch.stack([one.forces for one in alone])
    torch.testing.assert_close(found.energy, energies.mean(dim=0))
    torch.testing.assert_close(found.forces, forces.mean(dim=0))
    torch.testing.assert_close(found.energy_std, 2.0 * energies.std(dim=0))
    torch.testing.assert_close(found.forces_std, 3.0 * forces.std(dim=0))


def test_forces_of_the_ensemble_are_the_negative_gradient_of_its_energy(water):
    ensemble = Ensemble([member(0), member(1)])
    step = torch.zeros_like(water.positions)
    step[1, 0] = 1e-4
    ahead, behind = (ensemble.predict(water.with_positions(water.positions + s * step)).energy for s in (1, -1))
    assert float(ensemble.predict(water).forces[1, 0]) == pytest.approx(float(behind - ahead) / 2e-4, rel=1e-5)


def test_what_is_not_asked_for_is_not_given(water):
    found = Ensemble([member(0), member(1)]).predict(water, want=("energy", "forces_std"))
    assert found.forces is None
    assert found.energy_std is None
    assert found.forces_std.shape == (3, 3)


def test_equal_members_are_sure(water):
    found = Ensemble([member(0), member(0)]).predict(water, want=("energy_std", "forces_std"))
    assert float(found.energy_std) == 0.0
    assert float(found.forces_std.abs().max()) == 0.0


def test_members_that_do_not_go_together_are_refused():
    with pytest.raises(InputError, match="two members"):
        Ensemble([member(0)])
    with pytest.raises(InputError, match="elements"):
        Ensemble([member(0), member(1, elements=(1, 6, 8))])
    with pytest.raises(InputError, match="dtype"):
        Ensemble([member(0), member(1, dtype=torch.float32)])


def test_a_scale_fitted_on_one_half_covers_the_other_half_for_errors_of_any_shape():
    rng = np.random.default_rng(0)
    spreads = rng.lognormal(size=4000)
    errors = 2.5 * spreads * rng.laplace(size=4000)
    assert coverage(errors, spreads, [0.9])[0] < 0.7
    scale = fit_scale(errors[:2000], spreads[:2000])
    assert coverage(errors[2000:], scale * spreads[2000:], [0.9])[0] == pytest.approx(0.9, abs=0.02)


def test_normal_errors_with_true_deviations_are_reliable_at_every_level():
    rng = np.random.default_rng(1)
    stds = rng.lognormal(size=20_000)
    levels = np.array([0.1, 0.5, 0.683, 0.9, 0.99])
    np.testing.assert_allclose(coverage(stds * rng.normal(size=20_000), stds, levels), levels, atol=0.015)
    assert fit_scale(stds * rng.normal(size=20_000), stds) == pytest.approx(1.0, abs=0.03)


def test_members_that_agree_and_are_wrong_cannot_be_calibrated():
    with pytest.raises(InputError, match="agree where they are wrong"):
        fit_scale([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
