"""Dimer curves: isolated pairs of atoms must repel each other down to 0.5 Å."""

from __future__ import annotations

from benchmarks.physics.record import Job, check, metric
from mlff_core.judging.physics.dimer import dimer_curves


@check("dimers")
def command(job: Job) -> None:
    """Compute the energy of every pair of elements from beyond the cutoff down to 0.5 Å."""
    potential = job.load("float64")
    curves = dimer_curves(potential, job.size(None, potential.card.elements[:3]))
    rows = [
        {
            "pair": curve.symbols,
            "is_repulsive": curve.is_repulsive,
            "hole_depth": curve.hole_depth,
            "distances": curve.distances.round(3).tolist(),
            "energy": curve.energy.round(4).tolist(),
        }
        for curve in curves
    ]
    metrics = [
        metric("dimers that attract below 0.7 covalent radii", sum(not curve.is_repulsive for curve in curves), "", 0),
        metric("deepest hole in a dimer's wall", max(curve.hole_depth for curve in curves), "eV", 0.1),
        metric("dimer curves", len(curves), ""),
    ]
    job.write("dimers", metrics, rows=rows)
