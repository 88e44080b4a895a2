"""Structures and teachers shared by the tests of the data package."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from mlff_core.data.hdf5 import LabelledStructure, write_dataset
from mlff_core.testing.reference_potential import PairPotential

TEACHER_MODULE = '''
import os, signal, time
from pathlib import Path
from mlff_core.testing.reference_potential import PairPotential

class Deadly(PairPotential):
    """Kills its own process once, in the middle of the work."""

    def __init__(self, flag):
        super().__init__()
        self.flag, self.calls = Path(flag), 0

    def predict_checked(self, batch, want, edges=None):
        self.calls += 1
        if self.calls == 4:
            try:
                self.flag.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_checked(batch, want, edges)
'''


@pytest.fixture
def deadly_teacher(tmp_path, monkeypatch):
    """A picklable factory of a teacher that kills the first process that calls it four times, and its flag."""
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "deadly_teacher.py").write_text(TEACHER_MODULE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    from functools import partial

    from deadly_teacher import Deadly

    flag = tmp_path / "killed"
    return partial(Deadly, str(flag)), flag


def chain(k: int, n_atoms: int) -> LabelledStructure:
    """Return a bent chain of carbon and oxygen whose first atom is at x = k Å, so that it can be identified."""
    rng = np.random.default_rng(k)
    positions = 1.4 * np.arange(n_atoms)[:, None] * np.array([0.8, 0.6, 0.0]) + 0.1 * rng.standard_normal((n_atoms, 3))
    positions += np.array([k, 0, 0]) - positions[0]
    return LabelledStructure(
        atomic_numbers=rng.choice([6, 8], n_atoms).astype(np.uint8),
        positions=positions.astype(np.float32),
        molecule_id=k // 5,
        kind="given",
    )


@pytest.fixture
def chains(tmp_path):
    """Path of a data set of 120 geometries without labels."""
    path = tmp_path / "chains.h5"
    write_dataset(path, [chain(k, 3 + k % 6) for k in range(120)])
    return path


class Logging(PairPotential):
    """Writes the chains of each call to a log, one line per call."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log

    def predict_checked(self, batch, want, edges=None):
        first = np.concatenate([[True], np.diff(batch.system_idx.numpy()) > 0])
        names = " ".join(str(round(x)) for x in batch.positions[:, 0].numpy()[first])
        with self.log.open("a") as stream:
            stream.write(names + "\n")
        return super().predict_checked(batch, want, edges)


@pytest.fixture
def logging_teacher(tmp_path):
    """A teacher, and a function that returns the chains it evaluated, in order."""
    log = tmp_path / "asked.txt"

    def asked() -> list[int]:
        return [int(name) for name in log.read_text().split()] if log.exists() else []

    return Logging(log), asked


@pytest.fixture
def kill_after():
    """A function that runs work in a forked process, kills it after some seconds and returns whether it finished."""
    import multiprocessing

    def run(work, seconds: float) -> bool:
        process = multiprocessing.get_context("fork").Process(target=_single_threaded, args=(work,))
        process.start()
        process.join(seconds)
        finished = process.exitcode == 0
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        return finished

    return run


def _single_threaded(work) -> None:
    import torch

    torch.set_num_threads(1)  # the threads of the parent do not exist in a fork
    work()
