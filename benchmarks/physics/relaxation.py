"""Relaxed geometries: distance of the student's minimum from the teacher's."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.physics.molecules import TIGHT, TeachersMinima, molecules_of
from benchmarks.physics.record import Job, check, metric, say
from mlff_core.judging.physics.integrity import broken_bonds
from mlff_core.judging.physics.relaxation import relaxed
from mlff_core.judging.physics.trajectory import Array

GOAL = 0.05


def rmsd(positions: Array, other: Array) -> float:
    """Return the root mean square distance of atoms after the best superposition, Å; both of shape (n_atoms, 3)."""
    centred, other_centred = positions - positions.mean(axis=0), other - other.mean(axis=0)
    _, distance = Rotation.align_vectors(centred, other_centred)
    return float(distance / np.sqrt(len(positions)))


@check("relaxation")
def command(job: Job) -> None:
    """Relax twenty molecules from the teacher's minima and measure their displacements."""
    potential, teachers = job.load("float64"), TeachersMinima(job)
    rows = []
    for name, molecule in molecules_of("panel", job, 2).items():
        start = teachers.minimum(name, molecule)
        end = relaxed(potential, start, fmax=TIGHT)
        heavy = start.atomic_numbers.numpy() > 1
        before, after = start.positions.numpy(), end.positions.cpu().numpy()
        rows.append(
            {
                "molecule": name,
                "n_atoms": start.n_atoms,
                "rmsd": rmsd(before, after),
                "rmsd_heavy": rmsd(before[heavy], after[heavy]),
                "broken_bonds": broken_bonds(start, end),
            }
        )
        say(f"{name}: {rows[-1]['rmsd']:.3f} Å")
    distances = [row["rmsd"] for row in rows]
    metrics = [
        metric("relaxed geometry, mean RMSD", float(np.mean(distances)), "Å", GOAL),
        metric("relaxed geometry, worst RMSD", max(distances), "Å", GOAL),
        metric("relaxed geometry, worst RMSD of heavy atoms", max(row["rmsd_heavy"] for row in rows), "Å"),
        metric("bonds broken on relaxing", sum(row["broken_bonds"] for row in rows), "", 0),
    ]
    job.write("relaxation", metrics, rows=rows)
