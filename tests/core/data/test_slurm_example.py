"""The example that labels on a SLURM cluster."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset

SCRIPT = Path(__file__).parents[3] / "examples" / "label_on_slurm.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("label_on_slurm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("walltime", "minutes"),
    [("04:00:00", 240), ("90", 90), ("45:30", 45.5), ("1-12", 2160), ("2-00:30", 2910), ("1-00:00:30", 1440.5)],
)
def test_workers_leave_before_their_jobs_end_whatever_the_walltime(example, walltime, minutes):
    assert example.seconds(walltime) == 60 * minutes
    _, lifetime, _, spread = example.leaving_in_time(example.walltime(walltime))
    last = int(lifetime[:-1]) + int(spread[:-1])
    assert 0.9 * 60 * minutes < last < 60 * minutes - 1
    assert int(lifetime[:-1]) - int(spread[:-1]) > 0.85 * 60 * minutes


@pytest.mark.parametrize("walltime", ["", "an hour", "00:00:30", "1:2:3:4", "1-", "-5"])
def test_a_walltime_that_is_none_is_refused(example, walltime):
    with pytest.raises(argparse.ArgumentTypeError, match="must be five minutes or more"):
        example.walltime(walltime)


@pytest.mark.slow  # each worker is a process that imports everything
def test_the_script_labels_on_workers_of_this_machine(tmp_path):
    pytest.importorskip("distributed")
    pytest.importorskip("tblite")
    water = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], dtype=np.float32)
    write_dataset(tmp_path / "in.h5", [LabelledStructure(np.array([8, 1, 1]), water * scale) for scale in (1.0, 1.05)])
    line = [sys.executable, str(SCRIPT), "in.h5", "out.h5", "--teacher", "gfn2-xtb", "--local", "1"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=250, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "out.h5: 2 structures, 0 failed"
    assert Dataset(tmp_path / "out.h5").teacher["name"] == "gfn2-xtb"
