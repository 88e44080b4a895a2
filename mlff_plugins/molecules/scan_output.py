"""Torsion scans as plain values, CSV, tables and plots."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_plugins.molecules.tables import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlff_plugins.molecules.scans import Scan


def plain(found: Scan, model: str, teacher: str | None) -> dict[str, Any]:
    """Return a scan as values for JSON; a point without a geometry has the energies None."""

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    points = []
    for k, angles in enumerate(found.angles_deg):
        point: dict[str, Any] = {
            "angles_deg": angles.tolist(),
            "energy": number(found.energies[k]),
            "relative_kcal_mol": number(found.relative_kcal_mol[k]),
        }
        if found.teacher is not None and found.teacher_relative_kcal_mol is not None:
            point["teacher_energy"] = number(found.teacher[k])
            point["teacher_relative_kcal_mol"] = number(found.teacher_relative_kcal_mol[k])
        frame = found.frames[k]
        point["positions"] = None if frame is None else frame.positions.tolist()
        points.append(point)
    symbols = next(frame for frame in found.frames if frame is not None).get_chemical_symbols()
    return {"model": model, "teacher": teacher, "torsions": found.torsions, "symbols": symbols, "points": points}


def csv_text(found: Scan) -> str:
    """Return a scan as CSV, one point a line."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    angles = ["-".join(map(str, torsion)) for torsion in found.torsions]
    more = ["teacher_energy_ev", "teacher_relative_kcal_mol"] if found.teacher is not None else []
    writer.writerow([*(f"torsion_{angle}_deg" for angle in angles), "energy_ev", "relative_kcal_mol", *more])
    columns = [found.energies, found.relative_kcal_mol]
    if found.teacher is not None and found.teacher_relative_kcal_mol is not None:
        columns += [found.teacher, found.teacher_relative_kcal_mol]
    for angle, *values in zip(found.angles_deg, *columns, strict=True):
        shown = ["" if np.isnan(value) else f"{value:.6f}" for value in values]
        writer.writerow([*(f"{one:g}" for one in angle), *shown])
    return stream.getvalue()


def print_scan(found: Scan, title: str) -> None:
    """Print the points of a scan of one torsion, or the local minima of a scan of two."""
    relative = found.relative_kcal_mol
    minima, maxima = extrema(found)
    one = len(found.torsions) == 1
    rows = []
    for k, angles in enumerate(found.angles_deg):
        if not one and k not in minima:
            continue
        kind = "minimum" if k in minima else "maximum" if k in maxima else ""
        cells = [f"{relative[k]:.2f}"]
        if found.teacher_relative_kcal_mol is not None:
            cells.append(f"{found.teacher_relative_kcal_mol[k]:.2f}")
        rows.append([*(f"{angle:g}" for angle in angles), *("–" if cell == "nan" else cell for cell in cells), kind])
    angle_names = ["-".join(map(str, torsion)) for torsion in found.torsions]
    headings = [*angle_names, "kcal/mol", *(["teacher"] if found.teacher is not None else []), ""]
    show(title, headings, rows)


def extrema(found: Scan) -> tuple[set[int], set[int]]:
    """Return the points that are lower, and those that are higher, than all points next to them."""
    n_torsions = len(found.torsions)
    shape = (round(len(found.energies) ** (1 / n_torsions)),) * n_torsions
    energies = found.energies.reshape(shape)
    around = [np.roll(energies, step, axis) for axis in range(n_torsions) for step in (-1, 1)]
    with np.errstate(invalid="ignore"):
        lower = np.all([energies < other for other in around], axis=0)
        higher = np.all([energies > other for other in around], axis=0)
    return set(np.flatnonzero(lower).tolist()), set(np.flatnonzero(higher).tolist())


def figure_of(found: Scan, title: str, model: str, teacher: str | None) -> Figure:
    """Return a plot: curves of one torsion, or a map of two for each potential."""
    from mlff_core.judging.report.plots import BLUE, ORANGE, canvas, tidy

    curves = [(model, found.relative_kcal_mol)]
    if found.teacher_relative_kcal_mol is not None:
        curves.append((f"{teacher}, same geometries", found.teacher_relative_kcal_mol))
    names = ["-".join(map(str, torsion)) + ", degrees" for torsion in found.torsions]
    if len(found.torsions) == 1:
        figure = canvas(6.4, 4.0)
        axis = figure.subplots()
        # The first point again at the end of the turn.
        angles = np.append(found.angles_deg[:, 0], 180.0)
        for (name, values), colour in zip(curves, (BLUE, ORANGE), strict=False):
            axis.plot(angles, np.append(values, values[0]), marker="o", markersize=3.5, color=colour, label=name)
        axis.set(xlabel=names[0], ylabel="energy above the lowest, kcal/mol", xlim=(-180, 180))
        axis.set_xticks(range(-180, 181, 60))
        axis.legend(frameon=False, fontsize=8)
        tidy(axis)
    else:
        figure = canvas(5.2 * len(curves), 4.4)
        axes = np.atleast_1d(figure.subplots(1, len(curves)))
        side = np.unique(found.angles_deg[:, 0])
        for axis, (name, values) in zip(axes, curves, strict=True):
            drawn = axis.pcolormesh(
                side, side, values.reshape(len(side), len(side)).T, cmap="viridis", shading="nearest"
            )
            figure.colorbar(drawn, ax=axis, label="kcal/mol")
            axis.set(xlabel=names[0], ylabel=names[1])
            axis.set_title(name, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure
