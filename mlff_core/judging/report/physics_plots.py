"""Plots of the physics checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_core.judging.physics.nve import EnergyDrift
from mlff_core.judging.physics.result import PhysicsReport
from mlff_core.judging.report.plots import BLUE, COMPONENT_COLOURS, GREY, ORANGE, canvas, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_CURVES = 6


def drift_figure(report: PhysicsReport) -> Figure | None:
    """Return a plot of E(t) − E(0) of every run, vacuum and periodic side by side; None without runs."""
    runs = [run for run in report.runs if isinstance(run.found, EnergyDrift)]
    if not runs:
        return None
    figure = canvas(12, 3.6)
    axes = figure.subplots(1, 2, sharey=True)
    systems = list(dict.fromkeys(run.system for run in runs))
    for axis, periodic in zip(axes, (False, True), strict=True):
        for run in runs:
            if run.periodic == periodic and isinstance(run.found, EnergyDrift):
                axis.plot(
                    run.found.times_ps,
                    run.found.deviation_mev_per_atom,
                    color=COMPONENT_COLOURS[systems.index(run.system) % 3],
                    linestyle="-" if run.precision == "float64" else ":",
                    linewidth=1.0,
                    label=f"{_short(run.system)}, {run.precision}",
                )
        axis.axhline(0.0, color=GREY, linewidth=0.8)
        axis.set_title("Periodic cell" if periodic else "Vacuum")
        axis.set_xlabel("ps")
        tidy(axis)
    axes[0].set_ylabel("E(t) − E(0), meV/atom")
    axes[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def frequency_figure(report: PhysicsReport) -> Figure | None:
    """Return a plot of frequencies against the reference's; None without a reference."""
    pairs = {name: pair for name, pair in report.frequencies.items() if len(pair[1])}
    if not pairs:
        return None
    figure = canvas(5.6, 4.6)
    axis = figure.subplots()
    for k, (name, (found, reference)) in enumerate(pairs.items()):
        axis.plot(reference, found, "o", markersize=3.5, color=COMPONENT_COLOURS[k % 3], label=_short(name))
    top = max(float(reference.max()) for _, reference in pairs.values())
    axis.plot([0, top], [0, top], color=GREY, linewidth=1)
    axis.set_xlabel("reference, 1/cm")
    axis.set_ylabel("model, 1/cm")
    axis.set_title("Harmonic frequencies")
    axis.legend(frameon=False, loc="upper left", fontsize=8)
    tidy(axis)
    return figure


def torsion_figure(report: PhysicsReport) -> Figure | None:
    """Return a plot of each torsion scan with the reference's; None without scans."""
    if not report.torsions:
        return None
    n = len(report.torsions)
    figure = canvas(4.2 * n, 3.6)
    axes = figure.subplots(1, n, squeeze=False)[0]
    for axis, (name, scan) in zip(axes, report.torsions.items(), strict=True):
        axis.plot(scan.angles_deg, 1e3 * scan.reference, "o-", color=GREY, markersize=4, label="reference")
        axis.plot(scan.angles_deg, 1e3 * scan.energy, "o-", color=BLUE, markersize=4, label="model")
        axis.set_title(_short(name, 34), fontsize=9)
        axis.set_xlabel("turn, degrees")
        tidy(axis)
    axes[0].set_ylabel("relative energy, meV")
    axes[0].legend(frameon=False, loc="upper left")
    return figure


def dimer_figure(report: PhysicsReport) -> Figure | None:
    """Return a plot of energy against distance for the deepest holes and pairs of equal atoms; None without curves."""
    if not report.dimers:
        return None
    deepest = sorted(report.dimers, key=lambda curve: -curve.hole_depth)[: N_CURVES // 2]
    equal = [curve for curve in report.dimers if curve.numbers[0] == curve.numbers[1] and curve not in deepest]
    shown = [*deepest, *equal][:N_CURVES]
    figure = canvas(15, 5.6)
    for axis, curve in zip(figure.subplots(2, 3, squeeze=False).flat, shown, strict=False):
        axis.plot(curve.distances, curve.energy, color=BLUE)
        near = curve.energy[curve.distances > 0.75 * curve.core_radius]
        bottom, top = float(curve.energy.min()), float(np.percentile(near, 97))
        margin = 0.15 * max(top - bottom, 0.1)
        axis.set_ylim(bottom - margin, top + margin)
        axis.axvline(curve.core_radius, color=ORANGE, linestyle="--", linewidth=1)
        axis.set_title(
            f"{curve.symbols}: {curve.energy[0]:.3g} eV at {curve.distances[0]:g} Å, hole {curve.hole_depth:.2g} eV"
        )
        axis.set_xlabel("Å")
        axis.set_ylabel("eV")
        tidy(axis)
    return figure


def _short(name: str, length: int = 28) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
