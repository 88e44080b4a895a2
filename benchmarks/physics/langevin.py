"""Stability: five drug-like molecules at 500 K for a nanosecond."""

from __future__ import annotations

import click
import numpy as np

from benchmarks.physics.nve import prepared
from benchmarks.physics.record import Job, check, metric
from benchmarks.physics.replicas import Progress, pieces
from mlff_core.units import EV_PER_KELVIN

TEMPERATURE = 500.0
FRICTION_PER_PS = 1.0


@check(
    "langevin",
    click.option("--length-ps", type=float, help="Length of each run, ps; 1000 by default."),
    click.option("--timestep-fs", type=float, default=1.0, show_default=True),
)
def command(job: Job, length_ps: float | None, timestep_fs: float) -> None:
    """Run five drug-like molecules at 500 K for 1 ns and count broken bonds every picosecond."""
    length = length_ps or job.size(1000.0, 0.1)
    piece_ps = min(1.0, length)
    path = job.work / f"langevin-{timestep_fs:g}fs.npz"
    if path.exists():
        progress = Progress.read(path)
    else:
        progress = prepared(job, "drug", 1, TEMPERATURE, job.size(1.0, 0.05))
        progress.save(path)
    settings = {
        "n_steps": round(1e3 * piece_ps / timestep_fs),
        "timestep_fs": timestep_fs,
        "temperature": TEMPERATURE,
        "friction_per_ps": FRICTION_PER_PS,
        "record_every": 100,
    }
    for _ in pieces(job.load("float32"), progress, path, round(length / piece_ps), **settings):
        pass
    rows = [
        {
            "molecule": replica.name,
            "n_atoms": replica.start.n_atoms,
            "failure": replica.failure,
            "length_ps": float(replica.times_ps[-1]) if len(replica.times_ps) else 0.0,
            # The bath also moves the centre of mass: three degrees of freedom per atom.
            "temperature": float(2 * replica.kinetic_energy.mean() / (3 * replica.start.n_atoms * EV_PER_KELVIN))
            if len(replica.times_ps)
            else None,
        }
        for replica in progress.replicas
    ]
    temperatures = [row["temperature"] for row in rows if not row["failure"]]
    metrics = [
        metric("Langevin at 500 K, molecules broken", sum(bool(row["failure"]) for row in rows), "", 0),
        metric("Langevin, mean temperature", float(np.mean(temperatures)) if temperatures else None, "K"),
        metric("Langevin, shortest run", min(row["length_ps"] for row in rows), "ps"),
        metric("Langevin, time step", timestep_fs, "fs"),
    ]
    job.write("langevin", metrics, progress.cpu_seconds, rows=rows)
