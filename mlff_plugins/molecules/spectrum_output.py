"""Infrared spectra as plain values, CSV, tables and plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core.atomic_write import write_atomically
from mlff_core.cli.json_text import json_text
from mlff_core.judging.metrics import r_squared
from mlff_plugins.molecules.spectra import Spectrum, matched
from mlff_plugins.molecules.tables import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlff_plugins.molecules.vibrations import Vibrations


@dataclass(frozen=True, eq=False)
class Curve:
    """The spectrum that one potential gives."""

    name: str
    spectrum: Spectrum
    vibrations: Vibrations | None = None
    """Of a harmonic spectrum."""


def plain(curves: Sequence[Curve], title: str) -> dict[str, Any]:
    """Return spectra as values for JSON."""
    found: dict[str, Any] = {"title": title, "width_per_cm": curves[0].spectrum.width, "spectra": []}
    for curve in curves:
        one: dict[str, Any] = {
            "model": curve.name,
            "wavenumbers_per_cm": curve.spectrum.wavenumbers.tolist(),
            "absorption_km_per_mol_per_cm": curve.spectrum.absorption.tolist(),
        }
        if curve.vibrations is not None and curve.vibrations.intensities is not None:
            one["modes"] = [
                {"wavenumber_per_cm": float(wavenumber), "intensity_km_per_mol": float(intensity)}
                for wavenumber, intensity in zip(
                    curve.vibrations.wavenumbers, curve.vibrations.intensities, strict=True
                )
            ]
        found["spectra"].append(one)
    comparison = compared(curves)
    if comparison is not None:
        found["comparison"] = comparison
    return found


def compared(curves: Sequence[Curve]) -> dict[str, Any] | None:
    """Return how the modes of the first curve compare with those of the second; None where there are not two."""
    if len(curves) < 2:
        return None
    one, two = curves[0].vibrations, curves[1].vibrations
    if one is None or two is None or one.intensities is None or two.intensities is None:
        return None
    order = matched(one, two)
    return {
        "mode_of_teacher": order.tolist(),
        "wavenumber_mae_per_cm": float(np.abs(one.wavenumbers - two.wavenumbers[order]).mean()),
        "intensity_mae_km_per_mol": float(np.abs(one.intensities - two.intensities[order]).mean()),
        "intensity_r2": r_squared(two.intensities[order], one.intensities),
    }


def write(path: Path, curves: Sequence[Curve], content: dict[str, Any]) -> None:
    """Write the spectra as JSON, or as CSV with a line for each wavenumber."""
    if path.suffix.lower() == ".json":
        write_atomically(path, json_text(content).encode())
        return
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["wavenumber_per_cm", *(f"{curve.name}_km_per_mol_per_cm" for curve in curves)])
    columns = np.column_stack([curve.spectrum.absorption for curve in curves])
    for wavenumber, row in zip(curves[0].spectrum.wavenumbers, columns, strict=True):
        writer.writerow([f"{wavenumber:.3f}", *(f"{value:.6g}" for value in row)])
    write_atomically(path, stream.getvalue().encode())


def print_spectra(curves: Sequence[Curve], title: str) -> None:
    """Print the vibrations of a harmonic spectrum, or the bands of a trajectory's."""
    first = curves[0].vibrations
    if first is None or first.intensities is None:
        for curve in curves:
            rows = [(f"{at:.0f}", f"{height:.3g}") for at, height in curve.spectrum.peaks()]
            show(f"{title}, {curve.name}", ("band, 1/cm", "km/mol per 1/cm"), rows)
        return
    comparison = compared(curves)
    second = curves[1].vibrations if comparison is not None else None
    headings = ["mode", "1/cm", "km/mol"]
    if second is not None:
        headings += [f"{curves[1].name} 1/cm", "km/mol"]
    rows_of_modes = []
    for k, (wavenumber, intensity) in enumerate(zip(first.wavenumbers, first.intensities, strict=True)):
        cells = [str(k + 1), f"{wavenumber:.1f}", f"{intensity:.1f}"]
        if second is not None and second.intensities is not None and comparison is not None:
            twin = comparison["mode_of_teacher"][k]
            cells += [f"{second.wavenumbers[twin]:.1f}", f"{second.intensities[twin]:.1f}"]
        rows_of_modes.append(cells)
    show(f"{title}, {curves[0].name}", headings, rows_of_modes)
    if comparison is not None:
        numbers = [
            ("wavenumbers, mean absolute difference", f"{comparison['wavenumber_mae_per_cm']:.1f}", "1/cm"),
            ("intensities, mean absolute difference", f"{comparison['intensity_mae_km_per_mol']:.1f}", "km/mol"),
            ("intensities, R²", f"{comparison['intensity_r2']:.3f}", ""),
        ]
        show(f"compared with {curves[1].name}", ("", "value", "unit"), numbers)


def figure_of(curves: Sequence[Curve], title: str) -> Figure:
    """Return a plot of the spectra, the first upwards and the second mirrored below it."""
    from mlff_core.judging.report.plots import BLUE, GREY, ORANGE, canvas, tidy

    figure = canvas(7.2, 4.0)
    axis = figure.subplots()
    for curve, colour, sign in zip(curves, (BLUE, ORANGE), (1.0, -1.0), strict=False):
        axis.fill_between(curve.spectrum.wavenumbers, sign * curve.spectrum.absorption, color=colour, alpha=0.25, lw=0)
        axis.plot(curve.spectrum.wavenumbers, sign * curve.spectrum.absorption, color=colour, lw=1.2, label=curve.name)
    axis.axhline(0.0, color=GREY, lw=0.8)
    end = min(4200.0, float(curves[0].spectrum.wavenumbers[-1]))
    axis.set(xlabel="wavenumber, 1/cm", ylabel="absorption, km/mol per 1/cm", xlim=(end, 0))
    axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axis.legend(frameon=False, fontsize=8)
    tidy(axis)
    figure.suptitle(title, fontsize=10)
    return figure
