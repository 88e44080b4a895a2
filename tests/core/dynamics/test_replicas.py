"""Many structures at once: each moves as it would alone, and a continued run gives the same numbers."""

import numpy as np
import pytest
from ase.constraints import FixAtoms
from ase.io import read

from mlff_core.dynamics import run_md, run_replicas
from mlff_core.dynamics.replicas import REPLICA_COLUMNS
from mlff_core.errors import InputError, UnsupportedError


@pytest.fixture(name="settings")
def fixture_settings(settings):
    return lambda ensemble="nvt", **changes: settings(ensemble, **{"seed": 3, **changes})


@pytest.fixture(name="frames")
def fixture_frames(crystal, cluster):
    """Return a molecule, a crystal with held atoms, and another molecule."""
    held = crystal.copy()
    held.set_constraint(FixAtoms([0, 1, 2]))
    return [cluster, held, cluster[:5]]


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_each_structure_moves_as_it_would_alone(argon, frames, tmp_path, ensemble, settings, rows):
    report = run_replicas(argon, frames, settings(ensemble), tmp_path / "all")
    log = rows(tmp_path / "all")
    assert tuple(log[0]) == REPLICA_COLUMNS
    for k, atoms in enumerate(frames):
        alone = run_md(argon, atoms, settings(ensemble, seed=3 + k), tmp_path / str(k))
        mine = [row for row in log if row["replica"] == str(k)]
        for found, wanted in zip(mine, rows(tmp_path / str(k)), strict=True):
            for name in ("step", "potential_energy", "conserved_energy", "temperature_kelvin"):
                assert float(found[name]) == pytest.approx(float(wanted[name]), abs=1e-9)
        found = read(tmp_path / "all" / "trajectory.extxyz", f"{k}::{len(frames)}")
        wanted = read(tmp_path / str(k) / "trajectory.extxyz", ":")
        assert [(a.info["step"], a.info["replica"]) for a in found] == [(a.info["step"], k) for a in wanted]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)
            np.testing.assert_allclose(one.get_forces(), other.get_forces(), atol=1e-7)
        assert report.temperatures_kelvin[k] == pytest.approx(alone.temperature_kelvin)
        assert report.conserved_drifts[k] == pytest.approx(alone.conserved_drift, abs=1e-9)


def test_crystals_have_their_pressures(argon, crystal, tmp_path, settings, rows):
    crystals = [crystal, crystal.copy()]
    crystals[1].set_cell(crystal.cell * 1.01, scale_atoms=True)
    run_replicas(argon, crystals, settings("nve", n_steps=5), tmp_path / "all")
    for k, atoms in enumerate(crystals):
        run_md(argon, atoms, settings("nve", n_steps=5, seed=3 + k), tmp_path / str(k))
        found, wanted = rows(tmp_path / "all")[k], rows(tmp_path / str(k))[0]
        for name in ("pressure_gpa", "volume"):
            assert float(found[name]) == pytest.approx(float(wanted[name]), rel=1e-9)


def test_copies_have_different_velocities(argon, cluster, tmp_path, settings):
    run_replicas(argon, [cluster] * 3, settings(), tmp_path)
    starts = read(tmp_path / "trajectory.extxyz", ":3")
    assert not np.allclose(starts[0].get_velocities(), starts[1].get_velocities())
    assert not np.allclose(starts[1].get_velocities(), starts[2].get_velocities())


@pytest.mark.parametrize("trajectory", ["trajectory.extxyz", "trajectory.traj"])
def test_an_interrupted_and_continued_run_ends_as_an_uninterrupted_one(argon, frames, tmp_path, trajectory, settings):
    class Interrupted(BaseException):
        pass

    def interrupt(step):
        if step == 27:
            raise Interrupted

    long = settings(n_steps=40, log_every=1, frame_every=4, trajectory=trajectory)
    run_replicas(argon, frames, long, tmp_path / "one")
    with pytest.raises(Interrupted):
        run_replicas(argon, frames, long, tmp_path / "two", on_step=interrupt)
    with (tmp_path / "two" / "log.csv").open("a") as stream:
        stream.write("28,1,140.0,-0.3")
    report = run_replicas(argon, frames, long, tmp_path / "two", restart=True)
    assert (report.first_step, report.last_step) == (20, 40)
    assert (tmp_path / "one" / "log.csv").read_bytes() == (tmp_path / "two" / "log.csv").read_bytes()
    once, twice = (read(tmp_path / name / trajectory, ":") for name in ("one", "two"))
    assert len(once) == len(twice) == 11 * len(frames)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)


def test_a_run_is_continued_with_its_own_structures_only(argon, frames, cluster, tmp_path, settings):
    run_replicas(argon, frames, settings(), tmp_path)
    with pytest.raises(InputError, match="n_structures was 3 and is now 2"):
        run_replicas(argon, frames[:2], settings(n_steps=30), tmp_path, restart=True)
    with pytest.raises(InputError, match=r"structure 0 was 'Ar13 .*structure 2 was 'Ar5 .* and is now 'Ar13 "):
        run_replicas(argon, frames[::-1], settings(n_steps=30), tmp_path, restart=True)
    with pytest.raises(InputError, match="; and 2 more"):
        run_replicas(argon, frames[:1] * 3 + [frames[0]], settings(n_steps=30, seed=9), tmp_path, restart=True)
    with pytest.raises(InputError, match="structure was"):
        run_md(argon, cluster, settings(n_steps=30), tmp_path, restart=True)


def test_constant_pressure_and_no_structures_are_refused(argon, crystal, tmp_path, settings):
    with pytest.raises(UnsupportedError, match="not in npt"):
        run_replicas(argon, [crystal], settings("npt"), tmp_path / "run")
    with pytest.raises(InputError, match="at least one structure is needed to run, got none"):
        run_replicas(argon, [], settings(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_exploding_structure_stops_the_run_at_the_last_good_step(argon, cluster, tmp_path, settings):
    squeezed = cluster.copy()
    squeezed.positions *= 0.45
    with pytest.raises(InputError, match=r"the run stopped after step \d+ .*moved by.*last good step is in"):
        run_replicas(argon, [cluster, squeezed], settings(), tmp_path)
    assert np.isfinite(read(tmp_path / "trajectory.extxyz", "-1").positions).all()
