"""A watched potential returns the wrapped potential's predictions, and warns or stops above its limit."""

import math

import pytest
import torch

from mlff_core.dynamics import MDSettings, run_md, run_replicas
from mlff_core.errors import InputError, UncertaintyError, UnsupportedError
from mlff_core.potentials.ensemble import Ensemble
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.potentials.watched import UncertaintyWarning, WatchedPotential
from mlff_core.testing import small_student, structures

ALL = ("energy", "forces", "energy_std", "forces_std")


@pytest.fixture(scope="module")
def committee():
    return Ensemble([small_student(seed=seed, dtype=torch.float64) for seed in (0, 1)])


@pytest.fixture(scope="module")
def molecule():
    return structures.to_batch(structures.ethanol())


@pytest.fixture(scope="module")
def deviation(committee, molecule):
    return float(committee.predict(molecule, want=ALL).forces_std.max())


def test_below_its_limit_it_gives_the_wrapped_potentials_numbers_and_no_more(committee, molecule, deviation):
    watched = WatchedPotential(VerletPotential(committee), max_forces_std=1.01 * deviation, on_uncertain="stop")
    found, wanted = watched.predict(molecule), committee.predict(molecule)
    torch.testing.assert_close(found.energy, wanted.energy, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.forces, wanted.forces, rtol=0, atol=1e-12)
    assert found.forces_std is None
    assert watched.predict(molecule, want=ALL).energy_std is not None
    assert watched.worst_forces_std == pytest.approx(deviation)
    assert (watched.n_predictions, watched.n_uncertain) == (2, 0)


def test_a_message_names_the_atom_and_the_structure(committee, molecule):
    moved = structures.ethanol()
    moved.positions[7] += 0.3
    pair = structures.to_batch([structures.ethanol(), moved])
    found = committee.predict(pair, want=ALL)
    atom, which = int(found.forces_std.amax(dim=1).argmax()), int(found.energy_std.argmax())
    limit = float(found.forces_std.max()) / 2
    with pytest.raises(UncertaintyError, match=rf"\(atom {atom}, structure {atom // 9 + 1} of 2\)"):
        WatchedPotential(committee, max_forces_std=limit, on_uncertain="stop").predict(pair)
    with pytest.raises(UncertaintyError, match=rf"\(structure {which + 1} of 2\)"):
        WatchedPotential(committee, max_energy_std=float(found.energy_std.max()) / 2, on_uncertain="stop").predict(pair)
    atom = int(committee.predict(molecule, want=ALL).forces_std.amax(dim=1).argmax())
    with pytest.raises(UncertaintyError, match=rf"\(atom {atom}\)"):
        WatchedPotential(committee, max_forces_std=1e-6, on_uncertain="stop").predict(molecule)


def test_above_its_limit_it_stops_with_both_numbers(committee, molecule, deviation):
    watched = WatchedPotential(committee, max_forces_std=0.5 * deviation, on_uncertain="stop")
    with pytest.raises(UncertaintyError, match=rf"forces_std is {deviation:.3g} eV/Å, above the limit of "):
        watched.predict(molecule, want=("energy",))
    energy_std = float(committee.predict(molecule, want=ALL).energy_std)
    watched = WatchedPotential(committee, max_energy_std=0.5 * energy_std, on_uncertain="stop")
    with pytest.raises(UncertaintyError, match=rf"energy_std is {energy_std:.3g} eV, above"):
        watched.predict(molecule)


def test_it_warns_at_the_first_and_the_tenth_time(committee, molecule, deviation):
    watched = WatchedPotential(committee, max_forces_std=0.5 * deviation)
    with pytest.warns(UncertaintyWarning, match="1 of 1 predictions"):
        watched.predict(molecule)
    for _ in range(8):
        watched.predict(molecule)  # a warning here would be an error
    with pytest.warns(UncertaintyWarning, match="10 of 10 predictions"):
        watched.predict(molecule)
    assert watched.n_uncertain == 10


def test_a_nan_deviation_is_above_every_limit(committee, molecule):
    broken = Ensemble(committee.members, committee.calibration.__class__(forces=math.nan))
    with pytest.raises(UncertaintyError, match="forces_std is nan"):
        WatchedPotential(broken, max_forces_std=1e9, on_uncertain="stop").predict(molecule)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, InputError, "nothing to watch"),
        ({"max_forces_std": 0.0}, InputError, "must be positive, got 0.0"),
        ({"max_energy_std": math.nan}, InputError, "must be positive, got nan"),
        ({"max_forces_std": 1.0, "on_uncertain": "sing"}, InputError, "one of warn, stop, got 'sing'"),
    ],
)
def test_impossible_limits_are_refused(committee, options, error, message):
    with pytest.raises(error, match=message):
        WatchedPotential(committee, **options)


def test_one_model_alone_cannot_be_watched():
    with pytest.raises(UnsupportedError, match=r"gives no forces_std.*use a committee"):
        WatchedPotential(small_student(), max_forces_std=1.0)


def test_dynamics_ends_at_the_last_step_below_the_limit(committee, tmp_path, deviation):
    settings = MDSettings("nve", 200, temperature_kelvin=300.0)
    watched = WatchedPotential(committee, max_forces_std=1.02 * deviation, on_uncertain="stop")
    with pytest.raises(InputError, match=r"stopped after step \d+ .*not sure enough"):
        run_md(watched, structures.ethanol(), settings, tmp_path / "run")
    assert watched.n_predictions > 1
    assert (tmp_path / "run" / "restart.npz").exists()


def test_dynamics_of_many_structures_ends_and_names_the_structure_above_the_limit(committee, tmp_path, deviation):
    settings = MDSettings("nve", 200, temperature_kelvin=300.0)
    watched = WatchedPotential(committee, max_forces_std=1.02 * deviation, on_uncertain="stop")
    with pytest.raises(InputError, match=r"stopped after step \d+ .*not sure enough.*structure \d of 2"):
        run_replicas(watched, [structures.ethanol()] * 2, settings, tmp_path / "run")
    assert watched.n_uncertain == 1
    assert (tmp_path / "run" / "restart.npz").exists()
