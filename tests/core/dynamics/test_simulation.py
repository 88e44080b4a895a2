"""A whole run: its files, its errors, and continuing it after a kill.

Over 300 lines, in one file because its tests share one small run and its files.
"""

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLength
from ase.io import read

from mlff_core.atomic_write import one_writer
from mlff_core.dynamics import run_md
from mlff_core.dynamics.files import COLUMNS
from mlff_core.errors import CheckpointError, InputError, UnsupportedError
from mlff_core.units import EV_PER_KELVIN


def test_a_run_leaves_log_trajectory_record_and_restart_file(argon, crystal, tmp_path, settings, rows):
    report = run_md(argon, crystal, settings(), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "log.csv",
        "restart.npz",
        "run.json",
        "trajectory.extxyz",
    ]
    assert (report.first_step, report.last_step) == (0, 20)
    log = rows(tmp_path / "run")
    assert tuple(log[0]) == COLUMNS
    assert [int(row["step"]) for row in log] == [0, 5, 10, 15, 20]
    assert [float(row["time_fs"]) for row in log] == [0, 25, 50, 75, 100]
    for row in log:
        total = float(row["potential_energy"]) + float(row["kinetic_energy"])
        assert float(row["total_energy"]) == pytest.approx(total, abs=1e-12)
        degrees = 3 * len(crystal) - 3
        temperature = 2 * float(row["kinetic_energy"]) / degrees / EV_PER_KELVIN
        assert float(row["temperature_kelvin"]) == pytest.approx(temperature)
        assert float(row["volume"]) == pytest.approx(crystal.get_volume())
    frames = read(tmp_path / "run" / "trajectory.extxyz", ":")
    assert [frame.info["step"] for frame in frames] == [0, 10, 20]
    assert frames[-1].get_potential_energy() == pytest.approx(float(log[-1]["potential_energy"]), abs=1e-6)
    assert frames[-1].get_kinetic_energy() == pytest.approx(float(log[-1]["kinetic_energy"]), rel=1e-5)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["timestep_fs"] == 5.0


def test_the_logged_pressure_is_minus_the_derivative_of_the_energy_at_zero_temperature(
    argon, crystal, tmp_path, settings, rows
):
    run_md(argon, crystal, settings(temperature_kelvin=0.0, n_steps=1), tmp_path / "run")
    logged = float(rows(tmp_path / "run")[0]["pressure_gpa"])
    energies, volumes = [], []
    for factor in (0.9995, 1.0005):
        scaled = crystal.copy()
        scaled.set_cell(crystal.cell * factor, scale_atoms=True)
        folder = tmp_path / f"{factor}"
        run_md(argon, scaled, settings(temperature_kelvin=0.0, n_steps=1), folder)
        energies.append(float(rows(folder)[0]["potential_energy"]))
        volumes.append(scaled.get_volume())
    derivative = (energies[1] - energies[0]) / (volumes[1] - volumes[0])
    assert logged == pytest.approx(-derivative * 160.2176634, rel=1e-3)


def test_a_molecule_has_no_pressure_and_six_degrees_of_freedom_less(argon, cluster, tmp_path, settings, rows):
    run_md(argon, cluster, settings(n_steps=5), tmp_path)
    first = rows(tmp_path)[0]
    assert first["pressure_gpa"] == first["volume"] == ""
    expected = 2 * float(first["kinetic_energy"]) / ((3 * 13 - 6) * EV_PER_KELVIN)
    assert float(first["temperature_kelvin"]) == pytest.approx(expected)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(argon, crystal, tmp_path, settings):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_md(argon, crystal, settings("nvt", seed=seed), tmp_path / name)
    logs = {name: (tmp_path / name / "log.csv").read_bytes() for name in "abc"}
    assert logs["a"] == logs["b"] != logs["c"]


def test_nve_without_a_temperature_starts_with_the_velocities_of_the_structure(argon, cluster, tmp_path, settings):
    run_md(argon, cluster, settings("nvt", n_steps=20), tmp_path / "nvt")
    last = read(tmp_path / "nvt" / "trajectory.extxyz", "-1")
    run_md(argon, last, settings(temperature_kelvin=None), tmp_path / "nve")
    first = read(tmp_path / "nve" / "trajectory.extxyz", "0")
    centred = last.get_velocities() - last.get_momenta().sum(axis=0) / last.get_masses().sum()
    assert np.corrcoef(first.get_velocities().ravel(), centred.ravel())[0, 1] > 0.9
    with pytest.raises(InputError, match="no velocities"):
        run_md(argon, cluster, settings(temperature_kelvin=None), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_held_atoms_stay_and_do_not_count(argon, crystal, tmp_path, settings, rows):
    crystal.set_constraint(FixAtoms([0, 1, 2, 3]))
    run_md(argon, crystal, settings("nvt"), tmp_path)
    frames = read(tmp_path / "trajectory.extxyz", ":")
    np.testing.assert_allclose(frames[-1].positions[:4], crystal.positions[:4], atol=1e-7)
    row = rows(tmp_path)[-1]
    expected = 2 * float(row["kinetic_energy"]) / (3 * (len(crystal) - 4) * EV_PER_KELVIN)
    assert float(row["temperature_kelvin"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda atoms: atoms.set_pbc(False), InputError, "npt needs a cell"),
        (lambda atoms: atoms.set_constraint(FixAtoms([0])), UnsupportedError, "FixAtoms"),
        (lambda atoms: atoms.set_constraint(FixBondLength(0, 1)), UnsupportedError, "FixBondLength"),
        (lambda atoms: atoms.set_atomic_numbers([6] * len(atoms)), UnsupportedError, "does not know C"),
        (lambda atoms: atoms.positions.__setitem__((3, 0), np.nan), InputError, "atom 3"),
        (lambda atoms: atoms.positions.__setitem__(1, atoms.positions[0] + 0.1), InputError, "overlap"),
        (lambda atoms: atoms.set_masses([0.0] * len(atoms)), InputError, "positive mass"),
        (lambda atoms: atoms.info.__setitem__("charge", 1), UnsupportedError, "neutral"),
    ],
)
def test_a_structure_that_cannot_run_is_refused_and_leaves_no_file(
    argon, crystal, tmp_path, change, error, message, settings
):
    change(crystal)
    with pytest.raises(error, match=message):
        run_md(argon, crystal, settings("npt"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"ensemble": "nph"},
        {"timestep_fs": 0.0},
        {"timestep_fs": float("nan")},
        {"n_steps": 0},
        {"temperature_kelvin": -1.0},
        {"temperature_kelvin": None, "ensemble": "nvt"},
        {"friction_per_ps": -1.0},
        {"pressure_gpa": float("inf")},
        {"full_cell": True},
        {"trajectory": "run.dcd"},
        {"trajectory": "../run.traj"},
        {"seed": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(change, settings):
    with pytest.raises(InputError):
        settings(**{"ensemble": "nve", **change})


def test_a_run_is_not_written_over_and_not_continued_as_another_one(argon, crystal, tmp_path, settings):
    run_md(argon, crystal, settings(), tmp_path, model_sha256="a")
    log = (tmp_path / "log.csv").read_bytes()
    with pytest.raises(InputError, match="already holds"):
        run_md(argon, crystal, settings(), tmp_path, model_sha256="a")
    with pytest.raises(InputError, match=r"timestep_fs was 5\.0 and is now 4\.0"):
        run_md(argon, crystal, settings(timestep_fs=4.0), tmp_path, restart=True, model_sha256="a")
    with pytest.raises(InputError, match="model_sha256 was 'a' and is now 'b'"):
        run_md(argon, crystal, settings(), tmp_path, restart=True, model_sha256="b")
    with pytest.raises(InputError, match=r"structure was 'Ar32 .* and is now 'Ar31 "):
        run_md(argon, crystal[1:], settings(), tmp_path, restart=True, model_sha256="a")
    alone = crystal.copy()
    alone.pbc = False
    with pytest.raises(InputError, match=r"structure was .* periodic in xyz' and is now .* periodic in no direction"):
        run_md(argon, alone, settings(), tmp_path, restart=True, model_sha256="a")
    assert (tmp_path / "log.csv").read_bytes() == log


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_restart_file_is_a_clear_error(argon, crystal, tmp_path, damage, settings):
    run_md(argon, crystal, settings(), tmp_path)
    path = tmp_path / "restart.npz"
    path.write_bytes(path.read_bytes()[:300] if damage == "cut" else b"no restart file")
    with pytest.raises(CheckpointError, match="damaged"):
        run_md(argon, crystal, settings(n_steps=40), tmp_path, restart=True)


def test_a_lost_log_is_noticed(argon, crystal, tmp_path, settings):
    run_md(argon, crystal, settings(), tmp_path)
    (tmp_path / "log.csv").write_text("step\n")
    with pytest.raises(CheckpointError, match="shorter than the restart file records"):
        run_md(argon, crystal, settings(n_steps=40), tmp_path, restart=True)


def test_exploding_atoms_stop_the_run_and_leave_the_last_good_step(argon, crystal, tmp_path, settings, rows):
    with pytest.raises(InputError, match=r"the run stopped after step \d+ .*(overlap|moved by).*last good step is in"):
        run_md(argon, crystal, settings(timestep_fs=40.0, temperature_kelvin=3000.0, n_steps=500), tmp_path)
    log = rows(tmp_path)
    last = read(tmp_path / "trajectory.extxyz", "-1")
    assert last.info["step"] == int(log[-1]["step"])
    assert len({row["step"] for row in log}) == len(log)
    assert np.isfinite(last.positions).all()
    assert np.isfinite(last.get_forces()).all()
    with np.load(tmp_path / "restart.npz") as arrays:
        np.testing.assert_allclose(arrays["positions"], last.positions, atol=1e-7)


@pytest.mark.parametrize("trajectory", ["trajectory.extxyz", "trajectory.traj"])
def test_a_finished_run_can_be_made_longer(argon, crystal, tmp_path, trajectory, settings):
    run_md(argon, crystal, settings("nvt", n_steps=20, trajectory=trajectory), tmp_path / "two")
    report = run_md(argon, crystal, settings("nvt", n_steps=40, trajectory=trajectory), tmp_path / "two", restart=True)
    assert (report.first_step, report.last_step) == (20, 40)
    run_md(argon, crystal, settings("nvt", n_steps=40, trajectory=trajectory), tmp_path / "one")
    assert (tmp_path / "one" / "log.csv").read_bytes() == (tmp_path / "two" / "log.csv").read_bytes()
    once, twice = (read(tmp_path / name / trajectory, ":") for name in ("one", "two"))
    assert len(once) == len(twice) == 5
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)


@pytest.mark.parametrize("trajectory", ["trajectory.extxyz", "trajectory.traj"])
def test_a_run_made_longer_has_its_frames_at_equal_intervals(argon, crystal, tmp_path, trajectory, settings, rows):
    def run(n_steps):
        run_md(
            argon,
            crystal,
            settings("nvt", n_steps=n_steps, log_every=5, frame_every=4, trajectory=trajectory),
            tmp_path,
            restart=True,
        )
        steps = [frame.info.get("step", k) for k, frame in enumerate(read(tmp_path / trajectory, ":"))]
        return [int(row["step"]) for row in rows(tmp_path)], steps

    for _ in range(2):  # the same run again changes nothing
        logged, steps = run(18)
        assert logged == [0, 5, 10, 15, 18]
        assert len(steps) == 6  # 0, 4, 8, 12, 16, and the last step
    logged, steps = run(23)
    assert logged == [0, 5, 10, 15, 20, 23]
    assert len(steps) == 7
    if trajectory.endswith("xyz"):
        assert steps == [0, 4, 8, 12, 16, 20, 23]


@pytest.mark.parametrize("trajectory", ["trajectory.extxyz", "trajectory.traj"])
def test_output_left_half_written_by_a_kill_is_cut_off(argon, crystal, tmp_path, trajectory, settings):
    class Killed(BaseException):
        pass

    def kill(state):
        if state.step == 27:
            raise Killed

    long = settings("nvt", n_steps=40, log_every=1, frame_every=4, trajectory=trajectory)
    run_md(argon, crystal, long, tmp_path / "one")
    with pytest.raises(Killed):
        run_md(argon, crystal, long, tmp_path / "two", on_step=kill)
    with (tmp_path / "two" / "log.csv").open("a") as stream:
        stream.write("28,140.0,-0.3")
    if trajectory.endswith("xyz"):
        with (tmp_path / "two" / trajectory).open("a") as stream:
            stream.write("32\nLattice=")
    report = run_md(argon, crystal, long, tmp_path / "two", restart=True)
    assert report.first_step == 20
    assert (tmp_path / "one" / "log.csv").read_bytes() == (tmp_path / "two" / "log.csv").read_bytes()
    once, twice = (read(tmp_path / name / trajectory, ":") for name in ("one", "two"))
    assert [frame.get_potential_energy() for frame in once] == [frame.get_potential_energy() for frame in twice]


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import LennardJones
from ase.io import read
from mlff_core.atomic_write import one_writer
from mlff_core.dynamics import MDSettings, run_md
run_md(LennardJones(), read(sys.argv[3]), MDSettings(**eval(sys.argv[4])), sys.argv[2], restart=True)
"""


def kill_a_run(folder, structure, run_settings, after_row):
    """Run in another process and kill it with SIGKILL, at any point, once its log has ``after_row`` rows."""
    arguments = [str(Path(__file__).parent), str(folder), str(structure), repr(asdict(run_settings))]
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments])
    log = folder / "log.csv"
    while child.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") > after_row:
            child.kill()
        time.sleep(0.01)
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "ensemble", ["nve", pytest.param("nvt", marks=pytest.mark.slow), "npt"]
)  # npt is the thermostat of nvt and a barostat
def test_a_run_killed_and_continued_ends_as_an_uninterrupted_one(argon, crystal, tmp_path, ensemble, settings):
    crystal.write(tmp_path / "start.traj")
    long = settings(ensemble, n_steps=300, log_every=1, frame_every=7, checkpoint_every=50, pressure_gpa=0.1)
    run_md(argon, crystal, long, tmp_path / "alone")
    kill_a_run(tmp_path / "killed", tmp_path / "start.traj", long, after_row=120)
    report = run_md(argon, crystal, long, tmp_path / "killed", restart=True)
    assert report.first_step >= 100
    assert report.first_step % 50 == 0
    for name in ("log.csv", "trajectory.extxyz"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    with np.load(tmp_path / "alone/restart.npz") as alone, np.load(tmp_path / "killed/restart.npz") as killed:
        np.testing.assert_array_equal(alone["velocities"], killed["velocities"])


def test_restart_without_a_run_starts_one(argon, crystal, tmp_path, settings):
    report = run_md(argon, crystal, settings(), tmp_path / "run", restart=True)
    assert (report.first_step, report.last_step) == (0, 20)


def test_one_atom_can_run(argon, tmp_path, settings, rows):
    run_md(argon, Atoms("Ar"), settings(n_steps=5), tmp_path)
    assert float(rows(tmp_path)[-1]["temperature_kelvin"]) == 0.0


def test_a_folder_that_another_run_writes_is_refused(argon, cluster, tmp_path, settings):
    with one_writer(tmp_path / "run"), pytest.raises(InputError, match="run is being written by process"):
        run_md(argon, cluster, settings(), tmp_path / "run", restart=True)
    assert run_md(argon, cluster, settings(), tmp_path / "run", restart=True).last_step == 20
