"""Active learning killed at any moment, and started again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mlff_core.data.hdf5 import Dataset
from mlff_plugins.active.rounds import run_active
from mlff_plugins.active.sets import BATCH
from mlff_plugins.active.settings import ActiveConfig, SamplingSection

pytestmark = pytest.mark.timeout(900)  # each runs the whole several times

# Slow without working, so that labelling is a good part of a run on any machine.
TEACHER = '''
import hashlib, os, signal, time
from pathlib import Path
import torch
from mlff_core.testing import PairPotential

class Noting(PairPotential):
    """Records its labels, one line per structure; kills its own process at a given label."""

    def __init__(self, log, deadly_label=0):
        super().__init__(dtype=torch.float64)
        self.log, self.deadly_label = Path(log), deadly_label

    def predict_checked(self, batch, want, edges=None):
        with self.log.open("a") as log:
            for k in range(batch.n_systems):
                positions = batch.positions[batch.system_idx == k]
                log.write(hashlib.sha256(positions.numpy().tobytes()).hexdigest() + "\\n")
                time.sleep(0.02)
        if len(self.log.read_text().split()) == self.deadly_label:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_checked(batch, want, edges)

    def __call__(self):
        return self
'''
N_LABELS = 2 * BATCH + 4


def work(config, teacher, seconds=250.0):
    """Run in a new process, kill it after some seconds, and return whether it had ended."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=run_active, args=(config, teacher))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


@pytest.fixture(name="teacher")
def fixture_teacher(shared_folder, monkeypatch):
    """A teacher that a process of its own can load."""
    (shared_folder / "noting_teacher.py").write_text(TEACHER)
    monkeypatch.chdir(shared_folder)
    monkeypatch.syspath_prepend(shared_folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from noting_teacher import Noting

    return Noting


@pytest.fixture(name="seconds_alone")
def fixture_seconds_alone(shared_folder, teacher):
    """Time of an uninterrupted run, measured once."""
    seconds = shared_folder / "seconds"
    if not seconds.exists():
        # Forks of a process that has imported everything and used no thread of torch start at once.
        multiprocessing.get_context("forkserver").set_forkserver_preload(["mlff_plugins.active", "mlff_core.testing"])
        first = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(0,))
        first.start()
        first.join()
        begun = time.perf_counter()
        assert work(config("alone"), teacher("alone.log"))
        seconds.write_text(str(time.perf_counter() - begun))
    return float(seconds.read_text())


def config(out):
    sampling = SamplingSection(trajectories=4, time_ps=0.01, frame_every=2, ceiling=1e9)
    return ActiveConfig(
        train=Path("train.toml"),
        teacher="noting",
        test=Path("test.h5"),
        out=Path(out),
        members=2,
        rounds=1,
        frames=N_LABELS,
        threshold=1e-5,
        sampling=sampling,
    )


def labels_of(log):
    return Counter(Path(log).read_text().split())


def assert_same(first, second):
    """The same sets, the same table."""
    for one in sorted(Path(first).rglob("labels.h5")):
        with Dataset(one) as a, Dataset(Path(second) / one.relative_to(first)) as b:
            assert len(a) == len(b)
            for x, y in zip(a.structures(), b.structures(), strict=True):
                np.testing.assert_array_equal(x.positions, y.positions)
                np.testing.assert_array_equal(x.forces, y.forces)
                assert (x.energy, x.kind, x.split, x.molecule_id) == (y.energy, y.kind, y.split, y.molecule_id)
            assert Counter(x.kind for x in a.structures())["active"] == N_LABELS
    tables = [run_active(config(out), lambda: pytest.fail("nothing is left to label")) for out in (first, second)]
    assert len(tables[0]) == 3
    assert tables[0] == tables[1]
    assert not list(Path(second).rglob("labels")), "what was kept of the labels is in the set now"


def test_killed_at_random_moments_it_ends_as_if_left_alone(seconds_alone, teacher):
    random = np.random.default_rng()
    n_kills, ended = 0, False
    while not ended:
        # Shares of a whole run, so that they strike midway on a fast machine too.
        seconds = random.uniform(0.1, 0.4) * seconds_alone if n_kills < 4 else 250.0
        ended = work(config("random"), teacher("random.log"), seconds)
        n_kills += not ended
    assert n_kills > 0
    assert_same("alone", "random")
    alone, killed = labels_of("alone.log"), labels_of("random.log")
    assert alone.total() == 2 * N_LABELS
    assert killed.keys() == alone.keys()
    assert killed.total() - alone.total() <= n_kills * BATCH


def test_killed_while_it_labels_it_loses_one_batch(seconds_alone, teacher):
    assert not work(config("deadly"), teacher("deadly.log", deadly_label=2 * BATCH))
    assert labels_of("deadly.log").total() == 2 * BATCH
    assert work(config("deadly"), teacher("deadly.log"))
    assert_same("alone", "deadly")
    again = labels_of("deadly.log") - labels_of("alone.log")
    assert again.total() == len(again) == BATCH
