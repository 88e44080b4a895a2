"""Six panels for one model, drawn from the JSON files of its checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.physics.radial_distribution import experiment


def draw(path: Path, name: str, results: dict[str, dict[str, Any]], teachers_water: dict[str, Any] | None) -> None:
    """Write six panels of one model: drift, dimers, frequencies, torsions, S66, water."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
    panels = (_draw_nve, _draw_dimers, _draw_frequencies, _draw_torsions, _draw_s66)
    for axis, panel, check in zip(axes.flat, panels, ("nve", "dimers", "frequencies", "torsions", "s66"), strict=False):
        if check in results:
            panel(axis, results[check]["rows"])
        else:
            axis.set_title(f"{check}: not measured")
    _draw_water(axes.flat[5], results.get("water"), teachers_water)
    figure.suptitle(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _draw_nve(axis: Any, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if not row["failure"]:
            axis.plot(row["times_ps"], row["deviation_mev_per_atom"], linewidth=0.7)
    failed = sum(bool(row["failure"]) for row in rows)
    axis.set(
        title=f"NVE, 300 K: {len(rows) - failed} molecules, {failed} broken",
        xlabel="ps",
        ylabel="E(t) − E(0), meV/atom",
    )


def _draw_dimers(axis: Any, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        axis.plot(
            row["distances"], row["energy"], linewidth=0.7, color="tab:gray" if row["is_repulsive"] else "tab:red"
        )
    axis.set(title="Dimers of all pairs of elements", xlabel="Å", ylabel="eV", xlim=(0.5, 4), yscale="symlog")


def _draw_frequencies(axis: Any, rows: list[dict[str, Any]]) -> None:
    teacher = np.concatenate([row["teacher_per_cm"] for row in rows])
    model = np.concatenate([row["model_per_cm"] for row in rows])
    axis.axhline(0, color="black", linewidth=0.5)
    axis.plot(teacher, model - teacher, ".", markersize=3)
    axis.set(title="Harmonic frequencies", xlabel="teacher, 1/cm", ylabel="student − teacher, 1/cm")


def _draw_torsions(axis: Any, rows: list[dict[str, Any]]) -> None:
    done = [row for row in rows if row["barrier_error_kcal_mol"] is not None]
    _diagonal(
        axis, [row["teacher_barrier_kcal_mol"] for row in done], [row["barrier_kcal_mol"] for row in done], "student"
    )
    axis.set(title="Torsion barriers", xlabel="teacher, kcal/mol", ylabel="student, kcal/mol")


def _draw_s66(axis: Any, rows: list[dict[str, Any]]) -> None:
    reference = [row["reference_kcal_mol"] for row in rows]
    _diagonal(axis, reference, [row["model_kcal_mol"] for row in rows], "student")
    axis.plot(reference, [row["teacher_kcal_mol"] for row in rows], "x", markersize=4, label="teacher")
    axis.legend()
    axis.set(title="S66 interaction energies", xlabel="reference, kcal/mol", ylabel="kcal/mol")


def _draw_water(axis: Any, result: dict[str, Any] | None, teachers: dict[str, Any] | None) -> None:
    curves = [*(result["rows"] if result else []), *(teachers["rows"] if teachers else [])]
    owners = [""] * (len(result["rows"]) if result else 0) + ["teacher, "] * (len(teachers["rows"]) if teachers else 0)
    for owner, row in zip(owners, curves, strict=True):
        r, g, error = (np.array(row[key]) for key in ("r", "g", "g_error"))
        label = f"{owner}{row['engine']}, {row['length_ps']:g} ps"
        (line,) = axis.plot(r, g, linewidth=1, linestyle="--" if owner else "-", label=label)
        axis.fill_between(r, g - error, g + error, color=line.get_color(), alpha=0.2)
    if curves and (measured := experiment()) is not None:
        axis.plot(*measured, color="black", linewidth=0.8, label="experiment")
    if curves:
        axis.legend()
    axis.set(title="Water, 300 K" if curves else "water: not measured", xlabel="r(OO), Å", ylabel="g", xlim=(2, 6.2))


def _diagonal(axis: Any, x: list[float], y: list[float], label: str) -> None:
    ends = [min([*x, *y], default=0.0), max([*x, *y], default=1.0)]
    axis.plot(ends, ends, color="black", linewidth=0.5)
    axis.plot(x, y, "o", markersize=4, label=label)
