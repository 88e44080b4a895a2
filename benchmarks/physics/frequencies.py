"""Harmonic frequencies of student and teacher, each at its own minimum."""

from __future__ import annotations

import numpy as np

from benchmarks.physics.molecules import TIGHT, TeachersMinima, molecules_of
from benchmarks.physics.record import Job, check, metric, say
from mlff_core.judging.physics.frequencies import harmonic_frequencies
from mlff_core.judging.physics.relaxation import relaxed

GOAL = 30.0


@check("frequencies")
def command(job: Job) -> None:
    """Compare the harmonic frequencies of fifteen molecules with the teacher's, modes in ascending order."""
    potential, teachers = job.load("float64"), TeachersMinima(job)
    rows = []
    for name, molecule in molecules_of("frequency", job, 1).items():
        start = teachers.minimum(name, molecule)
        reference = teachers.frequencies(name, start)
        found = harmonic_frequencies(potential, relaxed(potential, start, fmax=TIGHT))
        error = float(np.abs(found - reference).mean())
        say(f"{name}: {error:.1f} 1/cm")
        rows.append(
            {
                "molecule": name,
                "mean_error_per_cm": error,
                "model_per_cm": found.round(1).tolist(),
                "teacher_per_cm": reference.round(1).tolist(),
            }
        )
    errors = np.concatenate([np.subtract(row["model_per_cm"], row["teacher_per_cm"]) for row in rows])
    imaginary = sum(sum(value < -30 for value in row["model_per_cm"]) for row in rows)
    metrics = [
        metric("frequencies, mean error", float(np.abs(errors).mean()), "1/cm", GOAL),
        metric("frequencies, worst molecule's mean error", max(row["mean_error_per_cm"] for row in rows), "1/cm"),
        metric("frequencies, mean signed error", float(errors.mean()), "1/cm"),
        metric("imaginary modes at minima", imaginary, "", 0),
    ]
    job.write("frequencies", metrics, rows=rows)
