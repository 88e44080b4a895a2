"""Infrared spectra against closed forms, and of trajectories against those of harmonic vibrations."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.md.velocitydistribution import Stationary, ZeroRotation
from click.testing import CliRunner

from mlff_core.cli.main import build
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.judging.metrics import r_squared
from mlff_core.judging.physics.frequencies import LIGHT_CM_PER_FS
from mlff_core.structures.dipole import dipoles
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import PairPotential
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT
from mlff_plugins.molecules.spectra import (
    frame_dipoles,
    harmonic_spectrum,
    matched,
    mean_temperature,
    trajectory_spectrum,
)
from mlff_plugins.molecules.vibrations import KM_PER_MOL, vibrations

CHARGED = Path(__file__).parents[3] / "examples" / "train" / "0.2" / "so_far" / "organic-tiny.pt"


class Charged(PairPotential):
    """A pair potential whose atoms carry charges that stay with them."""

    supports = PairPotential.supports | {"charges", "dipole"}
    charge = 0.3

    def predict_checked(self, batch, want, edges=None):
        prediction = super().predict_checked(batch, set(want) - {"charges", "dipole"}, edges)
        charges = torch.where(batch.atomic_numbers == 8, self.charge, -self.charge).double()
        found = {"charges": charges} if "charges" in want else {}
        return replace(prediction, **found, **({"dipole": dipoles(batch, charges)} if "dipole" in want else {}))


@pytest.fixture(name="pair")
def fixture_pair():
    return Charged(dtype=torch.float64)


def area(spectrum):
    return float(np.trapezoid(spectrum.absorption, spectrum.wavenumbers))


@pytest.mark.parametrize("wavenumber", [400.0, 1700.0, 3000.0])
def test_an_oscillator_with_the_energy_of_its_temperature_absorbs_its_harmonic_intensity(wavenumber):
    """Q̇² is kT on average, and the moment changes by 0.4 e/√amu along Q: whatever the frequency, the area is that."""
    kt, interval = EV_PER_KELVIN * 300.0, 1.5
    rate = 2 * math.pi * LIGHT_CM_PER_FS * wavenumber  # 1/fs
    amplitude = math.sqrt(2 * kt) / (rate * FS_PER_TIME_UNIT)
    along = 0.4 * amplitude * np.cos(rate * interval * np.arange(20_000))
    found = trajectory_spectrum(along[:, None] * np.array([0.6, 0.0, 0.8]), interval, 300.0, width=15.0)
    assert area(found) == pytest.approx(KM_PER_MOL * 0.4**2, rel=0.01)
    (peak,) = found.peaks()
    assert peak[0] == pytest.approx(wavenumber, abs=found.width)
    assert found.width == pytest.approx(15.0, rel=0.02)
    half = found.wavenumbers[found.absorption > 0.5 * peak[1]]
    assert np.ptp(half) == pytest.approx(15.0, abs=2 * np.diff(found.wavenumbers)[0])


def test_a_run_of_two_charges_on_a_spring_has_the_line_of_its_vibration(pair):
    found = vibrations(pair, Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.3]]))
    harmonic = harmonic_spectrum(found, width=20.0)
    assert area(harmonic) == pytest.approx(found.intensities[0], rel=0.02)
    # Along its only mode, with the energy kT of a small temperature, so that it is harmonic.
    kelvin, interval, frames = 5.0, 2.0, []
    masses = found.atoms.get_masses()[:, None]
    velocities = math.sqrt(2 * EV_PER_KELVIN * kelvin) * found.modes[0]
    atoms, step = found.atoms.copy(), 1.0 / FS_PER_TIME_UNIT

    def forces():
        return pair.predict(batch_from_atoms(atoms, dtype=torch.float64), want=("forces",)).forces.numpy()

    force = forces()
    for k in range(3000):
        velocities = velocities + 0.5 * step * force / masses
        atoms.positions += step * velocities
        force = forces()
        velocities = velocities + 0.5 * step * force / masses
        if k % 2 == 0:
            frames.append(atoms.copy())
    run = trajectory_spectrum(frame_dipoles(pair, frames), interval, kelvin, width=20.0)
    assert run.peaks()[-1, 0] == pytest.approx(found.wavenumbers[0], abs=run.width)
    assert area(run) == pytest.approx(found.intensities[0], rel=0.05)


def test_a_turned_molecule_has_the_same_spectrum():
    from mlff_core import load

    potential = load(CHARGED, device="cpu", dtype="float64")
    water = vibrations(potential, molecule("H2O"))
    turned = water.atoms.copy()
    turned.rotate(71.0, (1, 2, 3))
    again = vibrations(potential, turned)
    np.testing.assert_allclose(again.intensities, water.intensities, rtol=1e-3)
    np.testing.assert_array_equal(matched(water, again), [0, 1, 2])
    assert r_squared(water.intensities, again.intensities) > 0.9999


def test_modes_are_paired_by_their_motion_and_only_with_near_ones(pair):
    found = vibrations(pair, Atoms("COCO", positions=[[0, 0, 0], [0, 0, 1.3], [0, 9, 0], [0, 9, 1.3]]), as_is=True)
    order = np.random.default_rng(0).permutation(len(found.wavenumbers))
    other = replace(
        found,
        wavenumbers=found.wavenumbers[order] + 5.0,
        modes=-found.modes[order],
        intensities=found.intensities[order],
    )
    np.testing.assert_allclose(found.wavenumbers, other.wavenumbers[matched(found, other)] - 5.0, atol=1e-6)
    with pytest.raises(InputError, match="same atoms in the same order"):
        matched(found, replace(found, atoms=found.atoms[[1, 0, 2, 3]]))


def test_the_moment_of_a_box_does_not_depend_on_the_images_that_are_written(pair):
    one = Atoms("CO", positions=[[0.2, 0.1, 0.3], [0.4, 0.1, 1.5]])
    two = Atoms("CO", positions=[[5.0, 5.2, 5.6], [5.0, 5.9, 6.5]])
    box = one + two
    box.set_cell([[9.0, 0.0, 0.0], [0.5, 9.5, 0.0], [0.0, 0.7, 10.0]])
    box.pbc = True
    moved = box.copy()
    moved.positions += np.array([[1, 0, 0], [0, -1, 0], [0, 0, 2], [1, 1, 1]]) @ np.asarray(box.cell)
    together = 0.3 * (one.positions[1] - one.positions[0] + two.positions[1] - two.positions[0])
    np.testing.assert_allclose(frame_dipoles(pair, [box, moved]), [together, together], atol=1e-9)


def test_frames_of_two_systems_and_short_runs_are_refused(pair):
    frames = [molecule("H2O"), molecule("CO")]
    with pytest.raises(InputError, match="frame 1 has other atoms"):
        frame_dipoles(pair, frames)
    with pytest.raises(InputError, match="at least 64 frames"):
        trajectory_spectrum(np.zeros((10, 3)), 1.0, 300.0)
    with pytest.raises(InputError, match="interval_fs must be positive"):
        trajectory_spectrum(np.zeros((100, 3)), 0.0, 300.0)
    with pytest.raises(UnsupportedError, match="charges"):
        frame_dipoles(PairPotential(dtype=torch.float64), [Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.3]])])


def test_the_temperature_is_that_of_the_velocities():
    frames = [molecule("CH3CH2OH") for _ in range(600)]
    assert mean_temperature(frames) is None
    heat(frames, 250.0)
    assert mean_temperature(frames) == pytest.approx(250.0, rel=0.04)
    # The same velocities without the motion of the whole: a temperature counts only what can move.
    for frame in frames:
        Stationary(frame, preserve_temperature=False)
    assert mean_temperature(frames) == pytest.approx(250.0, rel=0.04)
    for frame in frames:
        ZeroRotation(frame, preserve_temperature=False)
    assert mean_temperature(frames) == pytest.approx(250.0, rel=0.04)


def heat(frames, kelvin):
    """Give frames the velocities of a temperature, each atom its own."""
    random = np.random.RandomState(0)
    for frame in frames:
        width = np.sqrt(EV_PER_KELVIN * kelvin * frame.get_masses()[:, None])
        frame.set_momenta(width * random.normal(size=(len(frame), 3)))


def mlff(*arguments, status=0):
    result = CliRunner().invoke(build(), ["spectrum", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def test_the_command_prints_writes_and_draws_a_harmonic_spectrum(tmp_path):
    pytest.importorskip("matplotlib")
    molecule("H2O").write(tmp_path / "water.xyz")
    files = ["-o", tmp_path / "water.csv", "--plot", tmp_path / "water.png"]
    printed = mlff(CHARGED, tmp_path / "water.xyz", "--teacher", CHARGED, *files).stdout
    assert "intensities, R²                         1.000" in printed
    rows = list(csv.reader((tmp_path / "water.csv").read_text().splitlines()))
    assert rows[0][0] == "wavenumber_per_cm"
    assert len(rows) > 4000
    assert (tmp_path / "water.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads(mlff(CHARGED, tmp_path / "water.xyz", "--json").stdout)
    modes = content["spectra"][0]["modes"]
    assert [1500 < mode["wavenumber_per_cm"] < 4100 for mode in modes] == [True] * 3


def test_the_command_reads_a_trajectory(tmp_path):
    frames = []
    for k in range(80):
        frame = molecule("H2O")
        frame.positions[1, 1] += 0.05 * math.cos(0.7 * k)
        frame.info["time_fs"] = 1.0 * k
        frames.append(frame)
    heat(frames, 300.0)
    ase.io.write(tmp_path / "run.traj", frames)
    content = json.loads(mlff(CHARGED, tmp_path / "run.traj", "--json").stdout)
    strongest = np.argmax(content["spectra"][0]["absorption_km_per_mol_per_cm"])
    wanted = 0.7 / (2 * math.pi * LIGHT_CM_PER_FS)
    assert content["spectra"][0]["wavenumbers_per_cm"][strongest] == pytest.approx(wanted, abs=content["width_per_cm"])
    for frame in frames:
        frame.set_momenta(np.zeros((3, 3)))
        del frame.info["time_fs"]
    ase.io.write(tmp_path / "bare.xyz", [Atoms(frame.symbols, frame.positions) for frame in frames])
    bare = tmp_path / "bare.xyz"
    assert "give --interval-fs" in mlff(CHARGED, bare, status=1).stderr
    assert "give the temperature of the run" in mlff(CHARGED, bare, "--interval-fs", 1, status=1).stderr
    slow = mlff(CHARGED, bare, "--interval-fs", 8, "--temperature-kelvin", 300)
    assert "nothing above 2085 1/cm can be seen" in slow.stderr


def test_a_model_without_charges_is_refused_before_any_work(tmp_path):
    molecule("H2O").write(tmp_path / "water.xyz")
    found = mlff("organic-tiny", tmp_path / "water.xyz", status=1)
    assert "organic-tiny gives no charges" in found.stderr
    assert "have one structure" in found.stderr or "mlff charges fit" in found.stderr
    wrong = mlff(CHARGED, tmp_path / "water.xyz", "--interval-fs", 1, status=2)
    assert "are for trajectories" in wrong.stderr


def test_units_of_the_intensity_are_those_of_ase():
    """ASE's Infrared gives (D/Å)²/amu, of which one is 42.2561 km/mol."""
    assert pytest.approx(42.2561 / units.Debye**2, rel=1e-4) == KM_PER_MOL
