"""Energy conservation: twenty molecules at 300 K in NVE for 100 ps in float32."""

from __future__ import annotations

import time

import click
import numpy as np
import torch

from benchmarks.physics.molecules import molecules_of
from benchmarks.physics.record import Job, check, metric, say
from benchmarks.physics.replicas import Progress, Replica, advance, pieces
from mlff_core.dynamics.state import without_drift
from mlff_core.judging.physics.nve import energy_drift
from mlff_core.judging.physics.relaxation import relaxed
from mlff_core.judging.physics.trajectory import masses, thermal_velocities

GOAL = 0.05
TEMPERATURE = 300.0
TIMESTEP_FS = 0.5
EQUILIBRATION_FRICTION_PER_PS = 10.0
CURVE_POINTS = 200
"""Number of points of each energy curve in the JSON file."""


def prepared(job: Job, kind: str, n_quick: int, temperature: float, length_ps: float) -> Progress:
    """Return molecules at the student's minima, brought to ``temperature``, K, in a bath for ``length_ps``, ps."""
    potential, minimiser = job.load("float32"), job.load("float64")
    generator = torch.Generator().manual_seed(1)
    before = time.process_time()
    replicas = []
    for name, molecule in molecules_of(kind, job, n_quick).items():
        minimum = relaxed(minimiser, molecule).to("cpu")
        replicas.append(Replica(name, minimum, minimum.positions, thermal_velocities(minimum, temperature, generator)))
    say(f"{len(replicas)} molecules relaxed")
    advance(
        potential,
        replicas,
        generator,
        n_steps=round(1e3 * length_ps / TIMESTEP_FS),
        timestep_fs=TIMESTEP_FS,
        temperature=temperature,
        friction_per_ps=EQUILIBRATION_FRICTION_PER_PS,
    )
    for replica in replicas:
        # The motion of the whole molecule is removed.
        mass = masses(replica.start.atomic_numbers).numpy()[:, None]
        replica.velocities = torch.from_numpy(without_drift(replica.velocities.numpy(), mass))
        replica.times_ps = replica.potential_energy = replica.kinetic_energy = np.zeros(0)
    return Progress(replicas, generator, cpu_seconds=time.process_time() - before)


@check("nve", click.option("--length-ps", type=float, help="Length of each run, ps; 100 by default."))
def command(job: Job, length_ps: float | None) -> None:
    """Run twenty molecules in NVE for 100 ps at 0.5 fs and fit a line to their total energies."""
    length = length_ps or job.size(100.0, 0.1)
    piece_ps = min(1.0, length)
    path = job.work / "nve.npz"
    if path.exists():
        progress = Progress.read(path)
    else:
        progress = prepared(job, "panel", 2, TEMPERATURE, job.size(5.0, 0.05))
        progress.save(path)
    steps = round(1e3 * piece_ps / TIMESTEP_FS)
    for _ in pieces(
        job.load("float32"), progress, path, round(length / piece_ps), n_steps=steps, timestep_fs=TIMESTEP_FS
    ):
        pass
    rows = [_row(replica) for replica in progress.replicas]
    done = [row for row in rows if not row["failure"]]
    drifts = [abs(row["drift_mev_per_atom_per_ps"]) for row in done]
    metrics = [
        metric("NVE drift, worst molecule", max(drifts, default=float("nan")), "meV/atom/ps", GOAL),
        metric("NVE drift, mean size", float(np.mean(drifts)) if drifts else None, "meV/atom/ps", GOAL),
        metric("NVE molecules broken", len(rows) - len(done), "", 0),
        metric(
            "NVE largest deviation", max((row["max_deviation_mev_per_atom"] for row in done), default=None), "meV/atom"
        ),
        metric("NVE mean temperature", float(np.mean([row["temperature"] for row in done])) if done else None, "K"),
        metric("NVE length of each run", piece_ps * progress.n_pieces, "ps"),
    ]
    job.write("nve", metrics, progress.cpu_seconds, rows=rows)


def _row(replica: Replica) -> dict[str, object]:
    row: dict[str, object] = {"molecule": replica.name, "n_atoms": replica.start.n_atoms, "failure": replica.failure}
    if replica.failure:
        return row
    found = energy_drift(replica.times_ps, replica.potential_energy, replica.kinetic_energy, replica.start.n_atoms)
    kept = np.linspace(0, len(found.times_ps) - 1, min(CURVE_POINTS, len(found.times_ps))).round().astype(int)
    return {
        **row,
        "drift_mev_per_atom_per_ps": found.drift_mev_per_atom_per_ps,
        "max_deviation_mev_per_atom": found.max_deviation_mev_per_atom,
        "score": found.score,
        "temperature": found.temperature,
        "times_ps": found.times_ps[kept].round(4).tolist(),
        "deviation_mev_per_atom": found.deviation_mev_per_atom[kept].round(5).tolist(),
    }
