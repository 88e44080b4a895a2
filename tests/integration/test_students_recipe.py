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
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def bash(script, *arguments):
    command = ["bash", str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_commands_make_the_data_and_the_students(tmp_path):
    data, runs = tmp_path / "data", tmp_path / "runs"
    bash("data/make_data.sh", data, 1, 2)
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
    bash("data/make_data.sh", data, 1, 2)
    assert (data / "organic.h5").stat().st_mtime_ns == before
    bash("train_all.sh", data, 0.1, runs)
    for name in ("organic-original", "organic-tiny", "organic-ultra-tiny"):
        student = load(runs / name / "model.pt", device="cpu")
        assert student.card.symbols == ("H", "C", "N", "O", "F", "P", "S", "Cl")
