"""Multiple time steps against plain steps, and against results of statistical mechanics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from mlff_core.card import ModelCard
from mlff_core.dynamics import MDSettings, run_md, run_replicas
from mlff_core.dynamics.barostat import LangevinBarostat
from mlff_core.dynamics.integrators import Langevin, VelocityVerlet
from mlff_core.dynamics.multiple_time_steps import MultipleTimeSteps
from mlff_core.dynamics.state import first_state, thermal_velocities, without_drift, without_rotation
from mlff_core.dynamics.surface import HostSurface
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT

KELVIN = 40.0


class Springs(Potential):
    """k/2 (r − r₀)² between atoms 0–1, 2–3, …: the whole energy is known."""

    supports = frozenset({"energy", "forces"})
    uses_edges = False

    def __init__(self, stiffness, length=3.8):
        self.device, self.dtype = torch.device("cpu"), torch.float64
        self.card = ModelCard(name=f"springs-{stiffness:g}", elements=(1, 18), cutoff=1.0)
        self.stiffness, self.length = stiffness, length
        self.n_calls = 0

    def predict_checked(self, batch, want, edges=None):
        self.n_calls += 1
        first, second = batch.positions[0::2], batch.positions[1::2]
        vectors = second - first
        r = vectors.norm(dim=1, keepdim=True)
        pull = self.stiffness * (r - self.length) / r * vectors
        forces = torch.stack([pull, -pull], dim=1).reshape(-1, 3)
        energies = 0.5 * self.stiffness * (r[:, 0] - self.length) ** 2
        pairs = torch.zeros(batch.n_systems, dtype=torch.float64)
        return Prediction(energy=pairs.index_add(0, batch.system_idx[0::2], energies), forces=forces)


@pytest.fixture
def other_argon(argon):
    """A potential like the outer one, 5 % weaker and 1 % shorter."""
    return type(argon)(epsilon=0.95 * argon.epsilon, sigma=0.99 * argon.sigma)


def begun(outer, inner, atoms, *, still=False, seed=0, mobile=None):
    """Return (outer surface, inner surface, masses, random, first state)."""
    random = np.random.default_rng(seed)
    masses = atoms.get_masses()[:, None]
    batch = batch_from_atoms(atoms, dtype=torch.float64)
    surfaces = [HostSurface(potential, batch, mobile) for potential in (outer, inner)]
    velocities = without_drift(thermal_velocities(masses, KELVIN, random), masses)
    if still:
        velocities, _ = without_rotation(velocities, atoms.positions, masses)
    if mobile is not None:
        velocities = velocities * mobile
    start = first_state(atoms.positions.copy(), velocities, np.asarray(atoms.cell)[None])
    return *surfaces, masses, random, surfaces[0].refresh(start, want_stress=False)


def split_verlet(outer, inner, masses, timestep_fs, n_inner):
    """Return velocity Verlet with an outer step of ``timestep_fs``."""
    return MultipleTimeSteps(outer, VelocityVerlet(inner, masses, timestep_fs / n_inner / FS_PER_TIME_UNIT), n_inner)


def walked(integrator, masses, state, n_steps):
    """Return the conserved energies, eV, and the last state."""
    energies = []
    for _ in range(n_steps):
        state = integrator.advance(state, want_stress=False)
        energies.append(state.energy + state.kinetic_energy(masses) - state.bath_energy)
    return np.array(energies), state


def standard_error(values, n_blocks=10):
    blocks = np.asarray(values)[: len(values) // n_blocks * n_blocks].reshape(n_blocks, -1).mean(axis=1)
    return blocks.std(ddof=1) / np.sqrt(n_blocks)


def test_one_inner_step_is_velocity_verlet_of_the_outer_potential(argon, other_argon, crystal):
    outer, inner, masses, _, start = begun(argon, other_argon, crystal)
    timestep = 5.0 / FS_PER_TIME_UNIT
    energies, end = walked(split_verlet(outer, inner, masses, 5.0, 1), masses, start, 50)
    expected, plain_end = walked(VelocityVerlet(outer, masses, timestep), masses, start, 50)
    np.testing.assert_allclose(end.positions, plain_end.positions, rtol=0, atol=1e-12)
    np.testing.assert_allclose(end.velocities, plain_end.velocities, rtol=0, atol=1e-13)
    np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-12)


def test_one_inner_step_is_baoab_of_the_outer_potential(argon, other_argon, crystal):
    outer, inner, masses, _, start = begun(argon, other_argon, crystal)
    ends = []
    for surface in (outer, inner):
        random = np.random.default_rng(9)
        draw = lambda random=random: random.standard_normal(start.positions.shape)  # noqa: E731
        thermostat = Langevin(surface, masses, 0.5, EV_PER_KELVIN * KELVIN, 0.1, draw)
        split = thermostat if surface is outer else MultipleTimeSteps(outer, thermostat, 1)
        ends.append(walked(split, masses, start, 50)[1])
    np.testing.assert_allclose(ends[1].positions, ends[0].positions, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ends[1].bath_energies, ends[0].bath_energies, rtol=0, atol=1e-12)


def test_an_inner_potential_equal_to_the_outer_gives_its_own_short_steps(argon, crystal):
    outer, inner, masses, _, start = begun(argon, argon, crystal)
    _, end = walked(split_verlet(outer, inner, masses, 20.0, 4), masses, start, 10)
    _, plain_end = walked(VelocityVerlet(outer, masses, 5.0 / FS_PER_TIME_UNIT), masses, start, 40)
    np.testing.assert_allclose(end.positions, plain_end.positions, rtol=0, atol=1e-12)


def test_the_error_of_energy_and_path_falls_with_the_square_of_the_outer_step(argon, other_argon, crystal):
    ends, errors = {}, []
    for timestep_fs in (32.0, 16.0, 8.0, 1.0):
        outer, inner, masses, _, start = begun(argon, other_argon, crystal)
        # Inner steps of 1 fs in all of them, so that only the outer step changes.
        stepper = split_verlet(outer, inner, masses, timestep_fs, round(timestep_fs))
        energies, ends[timestep_fs] = walked(stepper, masses, start, round(320 / timestep_fs))
        errors.append(np.abs(energies - (start.energy + start.kinetic_energy(masses))).max())
    away = [np.linalg.norm(ends[step].positions - ends[1.0].positions) for step in (32.0, 16.0, 8.0)]
    assert 3.2 < away[0] / away[1] < 5.0
    assert 3.2 < away[1] / away[2] < 5.0
    assert 3.0 < errors[0] / errors[1] < 5.3
    assert 3.0 < errors[1] / errors[2] < 5.3


def test_the_energy_of_the_outer_potential_is_conserved_and_that_of_the_inner_is_not(argon, other_argon, crystal):
    outer, inner, masses, _, state = begun(argon, other_argon, crystal)
    stepper = split_verlet(outer, inner, masses, 16.0, 4)
    energies, inner_energies = [], []
    for _ in range(300):
        state = stepper.advance(state, want_stress=False)
        kinetic = state.kinetic_energy(masses)
        energies.append(state.energy + kinetic)
        inner_energies.append(float(inner.evaluate(state.positions, state.cell, want_stress=False)[0][0]) + kinetic)
    thermal = 1.5 * len(crystal) * EV_PER_KELVIN * KELVIN
    drift = np.polyfit(np.arange(300), energies, 1)[0] * 300
    assert np.std(energies) < 1e-3 * thermal
    assert abs(drift) < 3 * np.std(energies)
    assert np.std(inner_energies) > 20 * np.std(energies)


def test_a_run_backwards_returns_to_where_it_began(argon, other_argon, crystal):
    outer, inner, masses, _, start = begun(argon, other_argon, crystal)
    stepper = split_verlet(outer, inner, masses, 16.0, 4)
    _, there = walked(stepper, masses, start, 25)
    _, back = walked(stepper, masses, replace(there, velocities=-there.velocities), 25)
    assert np.abs(there.positions - start.positions).max() > 0.1
    np.testing.assert_allclose(back.positions, start.positions, atol=1e-9)


def test_momentum_and_angular_momentum_stay_zero(argon, other_argon, cluster):
    outer, inner, masses, _, start = begun(argon, other_argon, cluster, still=True)
    _, end = walked(split_verlet(outer, inner, masses, 16.0, 4), masses, start, 50)
    momenta = masses * end.velocities
    assert np.abs(momenta.sum(axis=0)).max() < 1e-10
    assert np.abs(np.cross(end.positions, momenta).sum(axis=0)).max() < 1e-9


def test_the_outer_potential_is_called_once_a_step_and_the_inner_k_times(cluster):
    pairs = cluster[:12]
    outer, inner = Springs(1.0), Springs(1.1)
    surface, inside, masses, _, start = begun(outer, inner, pairs)
    outer.n_calls = inner.n_calls = 0
    walked(split_verlet(surface, inside, masses, 6.0, 6), masses, start, 10)
    assert outer.n_calls == 10
    assert inner.n_calls == 61  # one more at the start


def test_langevin_gives_the_distribution_of_the_outer_potential():
    n_pairs, length = 200, 3.8
    # Bonds of known stiffness, far apart: <(r − r₀)²> = kT/k, and half kT in each velocity.
    pairs = Atoms("Ar400", np.repeat(np.arange(n_pairs), 2)[:, None] * [[20.0, 0, 0]])
    pairs.positions[1::2, 1] += length
    outer, inner, masses, random, state = begun(Springs(2.0), Springs(1.6), pairs, seed=4)
    thermal_energy = EV_PER_KELVIN * KELVIN
    thermostat = Langevin(
        inner,
        masses,
        4.0 / FS_PER_TIME_UNIT,
        thermal_energy,
        10.0 * FS_PER_TIME_UNIT / 1000,
        lambda: random.standard_normal((2 * n_pairs, 3)),
    )
    stepper = MultipleTimeSteps(outer, thermostat, 4)
    kinetic, stretch, conserved = [], [], []
    for k in range(900):
        state = stepper.advance(state, want_stress=False)
        if k >= 100:
            lengths = np.linalg.norm(state.positions[1::2] - state.positions[0::2], axis=1)
            kinetic.append(state.kinetic_energy(masses))
            stretch.append(np.mean((lengths - length) ** 2))
            conserved.append(state.energy + kinetic[-1] - state.bath_energy)
    for values, expected in ((kinetic, 3 * n_pairs * thermal_energy), (stretch, thermal_energy / 2.0)):
        error = standard_error(values)
        assert error < 0.03 * expected
        assert abs(np.mean(values) - expected) < 3.5 * error + 0.01 * expected  # 1 %: the step's own error
    # The spread with the inner potential alone, kT/1.6, is far from it.
    assert abs(np.mean(stretch) - thermal_energy / 1.6) > 5 * standard_error(stretch)
    assert np.std(conserved) < 0.03 * np.mean(kinetic)


def test_held_atoms_stay(argon, other_argon, crystal):
    mobile = np.ones((len(crystal), 1), dtype=bool)
    mobile[:4] = False
    outer, inner, masses, _, start = begun(argon, other_argon, crystal, mobile=mobile)
    _, end = walked(split_verlet(outer, inner, masses, 16.0, 4), masses, start, 10)
    np.testing.assert_array_equal(end.positions[:4], start.positions[:4])
    assert np.abs(end.positions[4:] - start.positions[4:]).min(axis=1).max() > 0


def test_the_barostat_moves_between_multiple_time_steps(argon, other_argon, crystal):
    outer, inner, masses, random, state = begun(argon, other_argon, crystal)
    state = outer.refresh(state, want_stress=True)
    thermal_energy = EV_PER_KELVIN * KELVIN
    draw = lambda: random.standard_normal(state.positions.shape)  # noqa: E731
    thermostat = Langevin(inner, masses, 4.0 / FS_PER_TIME_UNIT, thermal_energy, 0.1, draw)
    split = MultipleTimeSteps(outer, thermostat, 3)
    barostat = LangevinBarostat(split, 6e-4, thermal_energy, 20.0, [random], full_cell=False, every=5)
    conserved, volumes = [], []
    for _ in range(300):
        state = barostat.advance(state, want_stress=False)
        conserved.append(state.energy + state.kinetic_energy(masses) - state.bath_energy)
        volumes.append(float(np.linalg.det(state.cell[0])))
    assert len(np.unique(volumes)) > 10
    # The inner forces are computed again in the new cell: with those of the old one this is not conserved.
    assert np.std(conserved) < 0.01 * 1.5 * len(crystal) * thermal_energy


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_a_continued_run_ends_with_the_numbers_of_an_uninterrupted_one(
    argon, other_argon, crystal, tmp_path, settings, ensemble
):
    whole = settings(ensemble, inner_steps=3)
    run_md(argon, crystal, whole, tmp_path / "whole", inner=other_argon)
    run_md(argon, crystal, replace(whole, n_steps=10), tmp_path / "parts", inner=other_argon)
    report = run_md(argon, crystal, whole, tmp_path / "parts", inner=other_argon, restart=True)
    assert (report.first_step, report.last_step) == (10, 20)
    for name in ("log.csv", "trajectory.extxyz"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_is_not_continued_with_another_inner_model(argon, other_argon, crystal, tmp_path, settings):
    short = settings(inner_steps=3)
    run_md(argon, crystal, replace(short, n_steps=10), tmp_path, inner=other_argon, inner_sha256="a")
    with pytest.raises(InputError, match="inner_sha256"):
        run_md(argon, crystal, short, tmp_path, inner=other_argon, inner_sha256="b", restart=True)
    with pytest.raises(InputError, match="inner_steps was 3 and is now 4"):
        run_md(
            argon, crystal, replace(short, inner_steps=4), tmp_path, inner=other_argon, inner_sha256="a", restart=True
        )


def test_inner_steps_need_an_inner_potential_and_the_other_way_round(argon, other_argon, crystal, tmp_path, settings):
    with pytest.raises(InputError, match="belong together"):
        run_md(argon, crystal, settings(inner_steps=3), tmp_path / "a")
    with pytest.raises(InputError, match="belong together"):
        run_md(argon, crystal, settings(), tmp_path / "b", inner=other_argon)
    with pytest.raises(InputError, match="inner_steps must lie in"):
        MDSettings("nve", 10, inner_steps=0)
    assert not list(tmp_path.iterdir())


def test_an_inner_model_that_does_not_know_the_atoms_is_refused_before_any_file(argon, crystal, tmp_path, settings):
    inner = type(argon)()
    inner.card = ModelCard(name="hydrogen", elements=(1,), cutoff=6.5)
    with pytest.raises(Exception, match="does not know Ar"):
        run_md(argon, crystal, settings(inner_steps=3), tmp_path / "run", inner=inner)
    assert not (tmp_path / "run").exists()


def test_replicas_run_as_alone(argon, other_argon, cluster, tmp_path, settings, rows):
    given = settings("nvt", inner_steps=3)
    run_replicas(argon, [cluster] * 3, given, tmp_path / "many", inner=other_argon)
    run_md(argon, cluster, replace(given, seed=2), tmp_path / "one", inner=other_argon)
    many = [row for row in rows(tmp_path / "many") if row["replica"] == "2"]
    for there, here in zip(many, rows(tmp_path / "one"), strict=True):
        assert float(there["conserved_energy"]) == pytest.approx(float(here["conserved_energy"]), abs=1e-9)
