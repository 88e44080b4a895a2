"""LAMMPS on several MPI processes gives the results of one."""

import os
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("lammps")

from mlff_core.cli.main import build
from mlff_core.errors import UnsupportedError
from mlff_core.kernels.build import BuildError
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing.reference_potential import PairPotential, small_student
from mlff_core.testing.structures import triclinic_crystal
from mlff_core.units import KCAL_MOL_PER_EV
from mlff_plugins.lammps.loader import preload_mpi
from mlff_plugins.lammps.pair_style import build_plugin, write_model

SPECIES = ["C", "H", "N", "O"]


def mpirun():
    for file in metadata.distribution("mpich").files or []:
        if file.name == "mpirun":
            return str(Path(str(file.locate())).resolve())
    pytest.skip("the MPI library has no mpirun")


@pytest.fixture(scope="module")
def plugin():
    try:
        return build_plugin()
    except BuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def crystal():
    """A triclinic crystal in LAMMPS' frame, longest along x, so that two processes share it."""
    atoms = triclinic_crystal() * (3, 1, 1)
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    atoms.rattle(0.02, seed=3)
    return atoms


@pytest.fixture(scope="module")
def student():
    return small_student(dtype=torch.float64, kernel="cpu")


INPUT = """
units {units}
atom_style atomic
boundary p p p
box tilt large
read_data start.data
plugin load {plugin}
pair_style mlff
pair_coeff * * {model} C H N O
neigh_modify every 1 delay 0 check yes
compute energies all pe/atom
compute pressure all pressure NULL virial
thermo 1
thermo_style custom step pe etotal c_pressure[*]
thermo_modify format float %.15g
dump atoms all custom 1 atoms.dump id x y z fx fy fz c_energies
dump_modify atoms sort id format float %.16g
{rest}
"""
BAR = 1.602176634e6
"""Bars in an eV/Å³, in LAMMPS' units metal."""


class Run:
    """A run of an input file on some processes: energies, pressures and atoms of each step, or the error."""

    def __init__(self, folder, plugin, model, n_processes, rest, units="metal"):
        folder.joinpath("in.lammps").write_text(INPUT.format(plugin=plugin, model=model, rest=rest, units=units))
        preload_mpi()
        import lammps

        libraries = Path(mpirun()).parent.parent / "lib"
        environment = dict(os.environ, OMP_NUM_THREADS="1", LD_LIBRARY_PATH=str(libraries))
        done = subprocess.run(
            [mpirun(), "-n", str(n_processes), str(Path(lammps.__file__).parent / "lmp"), "-in", "in.lammps"],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=250,
        )  # fmt: skip
        self.printed = done.stdout + done.stderr
        self.failed = done.returncode != 0
        lines = (folder / "log.lammps").read_text().splitlines() if not self.failed else []
        self.thermo = np.array([row for line in lines if len(row := numbers(line)) == 9])
        self.atoms = np.array(
            [row for line in (folder / "atoms.dump").read_text().splitlines() if len(row := numbers(line)) == 8]
            if not self.failed
            else []
        )


def numbers(line):
    try:
        return [float(field) for field in line.split()]
    except ValueError:
        return []


@pytest.fixture
def run(tmp_path_factory, plugin, crystal, student):
    def start(n_processes, rest, potential=student, atoms=crystal, units="metal"):
        folder = tmp_path_factory.mktemp("run")
        ase.io.write(
            folder / "start.data", atoms, format="lammps-data", masses=True, specorder=SPECIES, units=units,
            velocities=False,
        )  # fmt: skip
        write_model(potential, folder / "model.mlff")
        return Run(folder, plugin, folder / "model.mlff", n_processes, rest, units)

    return start


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_two_processes_have_the_energy_forces_and_virial_of_the_model(run, crystal, dtype, relative):
    potential = small_student(dtype=dtype, kernel="cpu")
    batch = batch_from_atoms([crystal], dtype=torch.float64)
    truth = small_student(dtype=torch.float64, kernel="cpu").predict(
        batch, want=("energy", "forces", "stress", "atom_energies")
    )
    forces, energies = truth.forces.numpy(), truth.atom_energies.numpy()
    stress = truth.stress[0].numpy()
    pressures = np.array([-stress[i, j] * BAR for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))])
    for n_processes in (1, 2):
        found = run(n_processes, "run 0", potential)
        assert not found.failed, found.printed
        np.testing.assert_allclose(found.thermo[0, 1], float(truth.energy), rtol=relative)
        np.testing.assert_allclose(found.atoms[:, 4:7], forces, atol=relative * np.abs(forces).max())
        np.testing.assert_allclose(found.atoms[:, 7], energies, rtol=relative)
        np.testing.assert_allclose(found.thermo[0, 3:], pressures, atol=2e-5 * np.abs(pressures).max())


def test_a_run_of_two_processes_keeps_its_energy_and_is_that_of_one(run, crystal):
    """Hot enough that atoms come and go between the two."""
    rest = "velocity all create 600 11 loop all\nthermo_modify norm no\ntimestep 0.0005\nfix move all nve\nrun 15"
    one, two = (run(n, rest) for n in (1, 2))
    assert not one.failed, one.printed
    assert not two.failed, two.printed
    assert len(two.thermo) == 16
    np.testing.assert_allclose(two.thermo[:, 1:3], one.thermo[:, 1:3], rtol=1e-10)
    np.testing.assert_allclose(two.atoms[:, 4:7], one.atoms[:, 4:7], atol=1e-6)
    kinetic = two.thermo[:, 2] - two.thermo[:, 1]
    drift = np.ptp(two.thermo[:, 2])
    assert drift < 0.05 * np.ptp(kinetic)
    assert "2 by 1 by 1 MPI processor grid" in two.printed


def test_atoms_beyond_the_reach_of_a_process_and_images_of_its_own_are_told_apart(run):
    """So long that no process has all atoms, so thin that each sees many images of its own and of the other's."""
    wire = triclinic_crystal() * (8, 1, 1)
    wire.set_cell(wire.cell.standard_form()[0], scale_atoms=True)
    wire.rattle(0.05, seed=4)
    one, three = (run(n, "run 0", atoms=wire) for n in (1, 3))
    assert not one.failed, one.printed
    assert not three.failed, three.printed
    assert "3 by 1 by 1 MPI processor grid" in three.printed
    np.testing.assert_allclose(three.atoms[:, 4:], one.atoms[:, 4:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(three.thermo[:, 1:], one.thermo[:, 1:], rtol=1e-9)


def test_real_units_are_served(run):
    metal, real = run(2, "run 0"), run(2, "run 0", units="real")
    assert not real.failed, real.printed
    np.testing.assert_allclose(real.thermo[0, 1] / metal.thermo[0, 1], KCAL_MOL_PER_EV, rtol=1e-8)
    np.testing.assert_allclose(real.atoms[:, 4:7], metal.atoms[:, 4:7] * KCAL_MOL_PER_EV, atol=1e-6)


def test_overlapping_atoms_stop_the_run_with_a_message(run, crystal):
    atoms = crystal.copy()
    atoms.positions[5] = atoms.positions[9] + 0.1
    found = run(2, "run 0", atoms=atoms)
    assert found.failed
    assert "closer than 0.3" in found.printed


def test_an_odd_number_of_electrons_is_refused_over_all_processes(run, crystal):
    closed = small_student(kernel="cpu")
    closed.card = replace(closed.card, spin_multiplicities="closed shell")
    # 159 electrons in 36 atoms, which two processes share.
    found = run(2, "run 0", potential=closed)
    assert found.failed
    assert "made for closed shells, but at a total charge of +0 e the structure has 159 electrons" in found.printed
    assert not run(2, "run 0", potential=closed, atoms=crystal[1:]).failed


def test_virials_of_atoms_are_refused(run):
    found = run(1, "compute stress all stress/atom NULL\ncompute total all reduce sum c_stress[1]\n"
                "thermo_style custom step c_total\nrun 0")  # fmt: skip
    assert found.failed
    assert "no virials of atoms" in found.printed


def test_a_potential_that_is_no_student_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="runs students"):
        write_model(PairPotential(), tmp_path / "model.mlff")


@pytest.mark.parametrize("damage", ["first weight", "middle", "last byte", "cut", "longer"])
def test_a_damaged_model_file_is_refused(run, monkeypatch, damage):
    write_whole = write_model

    def write_damaged(potential, path):
        write_whole(potential, path)
        content = bytearray(path.read_bytes())
        place = {"first weight": 300, "middle": len(content) // 2, "last byte": len(content) - 1}.get(damage)
        if place is not None:
            content[place] ^= 1
        path.write_bytes({"cut": content[:-100], "longer": content + b"1"}.get(damage, content))

    monkeypatch.setitem(globals(), "write_model", write_damaged)
    found = run(1, "run 0")
    assert found.failed
    assert "is damaged or cut off, or was written by another version" in found.printed


def test_the_commands_say_how_to_load_the_plugin(tmp_path, plugin, student):
    done = CliRunner().invoke(build(), ["lammps", "build-plugin"])
    assert done.output == f"plugin load {plugin}\n"


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_minimisation_comes_back_from_trial_steps_that_overlap(run, crystal, n_processes):
    """With a first step so long that atoms run into each other; a run of dynamics still stops there."""
    atoms = crystal.copy()
    atoms.positions[5] = atoms.positions[9] + [0.0, 0.25, 0.25]
    found = run(
        n_processes, "min_style cg\nmin_modify dmax 2.0 line backtrack\nminimize 0.0 1.0e-2 20 400", atoms=atoms
    )
    assert not found.failed, found.printed
    assert np.isfinite(found.thermo).all()
    assert found.thermo[-1, 1] < found.thermo[0, 1] - 1
    assert (np.diff(found.thermo[:, 1]) < 1e-6).all()


def test_a_plugin_in_a_folder_with_blanks_is_loaded_by_the_printed_line(tmp_path, plugin, monkeypatch):
    folder = tmp_path / "all users #1 $5"
    folder.mkdir()
    copied = folder / plugin.name
    copied.write_bytes(plugin.read_bytes())
    monkeypatch.setattr("mlff_plugins.lammps.pair_style.build_plugin", lambda: copied)
    line = CliRunner().invoke(build(), ["lammps", "build-plugin"]).output.strip()
    assert str(copied) in line
    from mlff_plugins.lammps import open_lammps

    lmp = open_lammps()
    lmp.commands_list([line, "units metal", "pair_style mlff"])
    lmp.close()
    named = tmp_path / "für" / plugin.name
    monkeypatch.setattr("mlff_plugins.lammps.pair_style.build_plugin", lambda: named)
    refused = CliRunner().invoke(build(), ["lammps", "build-plugin"])
    assert refused.exit_code == 1
    assert "MLFF_CACHE_DIR" in refused.output
