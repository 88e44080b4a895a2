"""The scripts behind the shipped students, from lists of molecules to three students, on a few of each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("so3krates_torch")
pytest.importorskip("rdkit")

from mlff_core import load
from mlff_core.data.hdf5 import Dataset

SCRIPTS = Path(__file__).parents[2] / "examples" / "train"
MOVER = SCRIPTS / "0.2" / "so_far" / "organic-tiny.pt"
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def bash(script, *arguments):
    command = ["bash", str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_commands_make_the_data_and_the_students(tmp_path):
    data, runs = tmp_path / "data", tmp_path / "runs"
    bash("data/make_data.sh", data, 1, 2, MOVER)
    with Dataset(data / "organic.h5") as organic, Dataset(data / "test_scaffolds.h5") as test:
        # Dynamics, contacts, torsions, clashes and pairs are all in the one file.
        assert {"md", "dimer", "torsion", "collision", "minimum"} <= set(organic.kinds)
        assert len(organic) > 500
        assert len(test) > 20
    with Dataset(data / "liquids.h5") as liquids, Dataset(data / "test_liquids.h5") as test:
        assert set(liquids.kinds) == set(test.kinds) == {"liquid"}
        assert all(one.pbc.all() for one in liquids.structures(range(3)))
    with Dataset(data / "nonbonded.h5") as both:
        assert {"liquid", "given", "collision"} <= set(both.kinds)
        boxes = [one for one in both.structures() if one.is_periodic]
        assert boxes
        assert all(one.stress is not None for one in boxes)
    before = (data / "organic.h5").stat().st_mtime_ns
    bash("data/make_data.sh", data, 1, 2, MOVER)
    assert (data / "organic.h5").stat().st_mtime_ns == before
    bash("train_all.sh", data, 0.1, runs)
    for name in ("organic-original", "organic-tiny", "organic-ultra-tiny"):
        student = load(runs / name / "model.pt", device="cpu")
        assert student.card.symbols == ("H", "C", "N", "O", "F", "P", "S", "Cl")

    # No student has to be there before: the first one is trained on the labels, and moves pairs.
    bash("data/first_student.sh", data, "stop.budget_minutes=0.5")
    first = data / "first" / "model.pt"
    assert load(first, device="cpu").card.symbols == ("H", "C", "N", "O", "F", "P", "S", "Cl")
    again = tmp_path / "again"
    again.mkdir()
    for part in data.iterdir():
        if part.is_file() and not part.name.startswith(
            ("bound", "apart", "organic", "nonbonded", "binding_0", "parted_0")
        ):
            (again / part.name).hardlink_to(part)
    bash("data/make_data.sh", again, 1, 2, first)
    with Dataset(again / "bound.h5") as bound, Dataset(again / "binding_0.h5") as binding:
        assert len(bound) > 0
        assert len(binding) > 0


def test_a_rehearsal_asks_for_the_student_that_moves_what_it_cannot_train(tmp_path):
    command = ["bash", str(SCRIPTS / "data" / "make_data.sh"), str(tmp_path / "data"), "1", "2"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "a rehearsal needs MOVER" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_recipe_names_no_shipped_student_as_its_input():
    for script in ("data/make_data.sh", "data/first_student.sh", "stages.py"):
        lines = [
            line for line in (SCRIPTS / script).read_text().splitlines() if not line.lstrip().startswith(("#", "echo"))
        ]
        assert not [line for line in lines if "organic-tiny" in line or "organic-original" in line]
