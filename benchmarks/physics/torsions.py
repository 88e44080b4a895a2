"""Torsion barriers: rigid scans from the teacher's minima, with the same geometries for both."""

from __future__ import annotations

import numpy as np

from benchmarks.physics.molecules import TeachersMinima, molecules_of
from benchmarks.physics.record import Job, check, metric, say
from mlff_core.judging.physics.torsion import rotatable_bonds, torsion_scan
from mlff_core.units import KCAL_MOL_PER_EV

GOAL = 0.5
KCAL_MOL_PER_MEV = 1e-3 * KCAL_MOL_PER_EV


@check("torsions")
def command(job: Job) -> None:
    """Compare the barriers of twenty rigid torsion scans with the teacher's."""
    potential, teachers = job.load("float64"), TeachersMinima(job)
    rows = []
    for name, molecule in molecules_of("torsion", job, 2).items():
        minimum = teachers.minimum(name, molecule)
        scans = (torsion_scan(potential, teachers.potential, minimum, bond) for bond in rotatable_bonds(minimum))
        scan = next((found for found in scans if found is not None), None)
        if scan is None:
            rows.append({"molecule": name, "barrier_error_kcal_mol": None})
            say(f"{name}: no bond can turn without a clash")
            continue
        rows.append(
            {
                "molecule": name,
                "bond": list(scan.atoms),
                "angles_deg": scan.angles_deg.tolist(),
                "barrier_kcal_mol": float(np.ptp(scan.energy)) * KCAL_MOL_PER_EV,
                "teacher_barrier_kcal_mol": float(np.ptp(scan.reference)) * KCAL_MOL_PER_EV,
                "barrier_error_kcal_mol": scan.barrier_error_mev * KCAL_MOL_PER_MEV,
                "curve_error_kcal_mol": scan.mae_mev * KCAL_MOL_PER_MEV,
            }
        )
        say(f"{name}: barrier off by {rows[-1]['barrier_error_kcal_mol']:+.2f} kcal/mol")
    done = [row for row in rows if row["barrier_error_kcal_mol"] is not None]
    errors = np.abs([row["barrier_error_kcal_mol"] for row in done])
    metrics = [
        metric("torsion barriers, mean error", float(errors.mean()), "kcal/mol", GOAL),
        metric("torsion barriers, largest error", float(errors.max()), "kcal/mol"),
        metric("torsion curves, mean error", float(np.mean([row["curve_error_kcal_mol"] for row in done])), "kcal/mol"),
        metric("torsions not scanned", len(rows) - len(done), "", 0),
    ]
    job.write("torsions", metrics, rows=rows)
