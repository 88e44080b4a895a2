"""Many structures at once on a GPU: as on a CPU, and identical to the bit when a killed run is continued."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA GPU", allow_module_level=True)
pytestmark = pytest.mark.gpu

from ase.io import read

from mlff_core.dynamics import MDSettings, run_replicas
from mlff_core.testing import small_student, structures

SETTINGS = MDSettings(
    "nvt", n_steps=40, timestep_fs=0.2, temperature_kelvin=30.0, log_every=1, frame_every=5, checkpoint_every=10, seed=3
)


def frames():
    return [structures.ethanol(), structures.cluster(20), structures.ethanol()]


def test_structures_move_on_a_gpu_as_they_do_on_a_cpu(tmp_path):
    for device in ("cpu", "cuda"):
        run_replicas(small_student(dtype=torch.float64, device=device), frames(), SETTINGS, tmp_path / device)
    once, twice = (read(tmp_path / device / "trajectory.extxyz", ":") for device in ("cpu", "cuda"))
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-6)
    logs = []
    for device in ("cpu", "cuda"):
        with (tmp_path / device / "log.csv").open(newline="") as stream:
            logs.append([float(row["conserved_energy"]) for row in csv.DictReader(stream)])
    np.testing.assert_allclose(*logs, atol=1e-6)


def test_a_run_interrupted_midway_and_continued_ends_as_an_uninterrupted_one(tmp_path):
    class Struck(BaseException):
        pass

    def strike(step):
        if step == 27:
            raise Struck

    potential = small_student(device="cuda")
    run_replicas(potential, frames(), SETTINGS, tmp_path / "one")
    with pytest.raises(Struck):
        run_replicas(potential, frames(), SETTINGS, tmp_path / "two", on_step=strike)
    run_replicas(potential, frames(), SETTINGS, tmp_path / "two", restart=True)
    assert (tmp_path / "one" / "log.csv").read_bytes() == (tmp_path / "two" / "log.csv").read_bytes()
