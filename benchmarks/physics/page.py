"""The documentation page: a table of all metrics and six panels per model, from the JSON files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.physics.panels import draw
from benchmarks.physics.radial_distribution import COMPARED, compared, difference, mean_difference, mean_of
from benchmarks.physics.record import RESULTS, ROOT, TEACHER
from mlff_core.atomic_write import write_atomically
from mlff_core.errors import InputError
from mlff_core.judging.physics.trajectory import Array

Results = dict[str, dict[str, Any]]
"""Results of one model by name of the check."""

CHECKS = {
    "nve": "NVE: twenty molecules of 9–60 atoms at the student's minima, 5 ps at 300 K in a bath of friction 10/ps, "
    "then NVE; 0.5 fs, the potential in float32. The drift is the rate of change from a linear fit of the total "
    "energy, divided by the number of atoms. A bond is broken if it is longer than 1.5 times its length at the "
    "minimum; this is checked every 1 ps.",
    "langevin": "Langevin: aspirin, caffeine, sulfamethoxazole, ibuprofen and fluconazole at 500 K, friction 1/ps.",
    "water": "Water: 64 molecules in a cube at 0.997 g/cm³, heated to 300 K by 5 ps of mlff-hub's own Langevin "
    "dynamics, then with OpenMM (`PythonForce`) and LAMMPS (`fix external`), 0.5 fs, friction 5/ps, each with its "
    "own noise. "
    "g(OO) in bins of 0.1 Å; its standard error from five blocks of time; the difference of the engines is "
    "taken between 2.4 and 6.2 Å. The teacher runs in the dynamics of mlff-hub from a student's equilibrated box, "
    "after 2 ps of its own equilibration. The experimental curve is that in mlipaudit 0.1.8.",
    "relaxation": "Relaxed geometries: the twenty molecules of the NVE runs, relaxed with the teacher and from there "
    "with the student (largest force component 0.001 eV/Å); root mean square distance of all atoms after the best "
    "superposition.",
    "frequencies": "Frequencies: fifteen molecules, each potential at its own minimum, modes in ascending order.",
    "torsions": "Torsions: a rigid scan of one bond in each of twenty molecules from the teacher's minimum, every 15°, "
    "angles with clashes left out; the barrier is the highest minus the lowest energy of the scan.",
    "dimers": "Dimers: every pair of elements alone, down to 0.5 Å; the repulsive wall begins at 0.7 "
    "times the sum of the covalent radii.",
    "s66": "S66: energy of the pair minus those of its parts in the same geometry. Geometries and reference "
    "energies from Psi4 (J. Řezáč et al., J. Chem. Theory Comput. 7, 2427 (2011), doi:10.1021/ct2002946). The "
    "training data has pairs of its molecules, relaxed with a student; it does not have the geometries of S66.",
}
"""Description of each check, in the order of the page."""
BEFORE_SECOND_PEAK = 4.2
"""Å; the first minimum of g(OO) is at a smaller distance."""


def read_results(folder: Path, models: Sequence[str]) -> dict[str, Results]:
    """Return the results of the checks for each model, by name of the model.

    Raises
    ------
    InputError
        There are no results.
    """
    names = list(models) or sorted(path.name for path in folder.glob("*/") if path.name != TEACHER)
    found = {name: read_model(folder / name) for name in names}
    found = {name: results for name, results in found.items() if results}
    if not found:
        raise InputError(f"{folder} holds no results; run a check first: python -m benchmarks.physics dimers MODEL")
    return found


def read_model(folder: Path) -> Results:
    """Return one model's results by check."""
    paths = [folder / f"{check}.json" for check in CHECKS]
    return {path.stem: json.loads(path.read_text()) for path in paths if path.exists()}


def page_text(found: dict[str, Results], teachers: Results) -> str:
    """Return the page in Markdown."""
    lines = [
        "# Physics of the students",
        "",
        "This page shows how well the shipped students reproduce physical properties: energy conservation, stability,",
        "geometries, frequencies, barriers, interaction energies and water. To run quick checks on a model, type",
        "`mlff validate MODEL DATA.h5 --physics`; [validation](validation.md) has the commands of the checks below.",
        "**A value in bold misses its goal.**",
        "",
        "The page is written by `python -m benchmarks.physics page` from `benchmarks/results/physics`.",
        "",
        "| | goal | " + " | ".join(found) + " |",
        "|---|---|" + "---|" * len(found),
    ]
    for check in CHECKS:
        rows: dict[str, tuple[str, str]] = {}
        for results in found.values():
            for row in results.get(check, {"metrics": []})["metrics"]:
                goal = "" if row["goal"] is None else f"≤ {row['goal']:g}"
                rows.setdefault(row["name"], (row["unit"], goal))
        for name, (unit, goal) in rows.items():
            cells = [_cell(results, check, name) for results in found.values()]
            lines.append(f"| {name}{f', {unit}' if unit else ''} | {goal} | " + " | ".join(cells) + " |")
    if missing := [text for name, results in found.items() if (text := _not_run(name, results))]:
        lines += ["", f"Not measured on these files: {'; '.join(missing)}."]
    lines += _beside_the_teachers(found, teachers)
    lines += ["", "## What was measured", ""]
    measured = [check for check in CHECKS if any(check in results for results in found.values())]
    lines += [f"- {CHECKS[check]}" for check in measured]
    lines += ["", "Processor minutes of each check on one thread:", "", "| | " + " | ".join(found) + " |"]
    lines += ["|---|" + "---|" * len(found)]
    for check in measured:
        minutes = [results[check]["about"]["cpu_minutes"] if check in results else "" for results in found.values()]
        lines.append(f"| {check} | " + " | ".join(str(value) for value in minutes) + " |")
    hashes = {
        name: sorted({r["about"]["model_sha256"][:12] for r in results.values()}) for name, results in found.items()
    }
    lines += [
        "",
        "Model files by SHA-256: " + "; ".join(f"{name} {', '.join(all_)}" for name, all_ in hashes.items()) + ".",
    ]
    for name in found:
        lines += ["", f"## {name}", "", f"![Physics checks of {name} in six panels](figures/physics-{name}.png)"]
    return "\n".join(lines) + "\n"


def _not_run(name: str, results: Results) -> str:
    """Return the name of a model and its missing checks, or an empty string."""
    lacking = [check for check in CHECKS if check not in results]
    return f"{name} {', '.join(lacking)}" if lacking else ""


def _cell(results: Results, check: str, name: str) -> str:
    for row in results.get(check, {"metrics": []})["metrics"]:
        if row["name"] == name:
            value = "none" if row["value"] is None else f"{row['value']:g}"
            return f"**{value}**" if row["passed"] is False else value
    return ""


def _beside_the_teachers(found: dict[str, Results], teachers: Results) -> list[str]:
    """Return the lines that compare water of students and teacher; none if either is missing."""
    students = {name: results for name, results in found.items() if "water" in results}
    if not students or "water" not in teachers:
        return []
    columns = {f"teacher, {teachers['water']['rows'][0]['length_ps']:g} ps": teachers, **students}
    of_teacher, *of_students = curves = [mean_of(results["water"]["rows"]) for results in columns.values()]
    r, g = of_teacher["r"], of_teacher["g"]
    cells: dict[str, list[str]] = {"first peak": [], "first minimum": [], "second peak": []}
    for curve in curves:
        for label, where in zip(cells, _extrema(curve["r"], curve["g"]), strict=True):
            cells[label].append(f"{curve['g'][where]:.2f} at {curve['r'][where]:.2f} Å")
    cells["mean difference from the teacher"] = [
        "",
        *(f"{mean_difference(curve['r'], curve['g'], r, g):.2f}" for curve in of_students),
    ]
    cells["this difference in standard errors (rms)"] = [
        "",
        *(f"{difference(curve, of_teacher)[1]:.1f}" for curve in of_students),
    ]
    cells["mean difference from experiment"] = [
        _cell(results, "water", "water, g(OO) from experiment, mean difference") for results in columns.values()
    ]
    error = of_teacher["g_error"][compared(r)].mean()
    return [
        "",
        "## Water: students and teacher",
        "",
        "g(OO) in bins of 0.1 Å, mean of the engines. Differences are taken between "
        f"{COMPARED[0]:g} and {COMPARED[1]:g} Å.",
        f"There the mean standard error of the teacher's curve is {error:.2f} per bin.",
        "",
        "| | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
        *(f"| {label} | " + " | ".join(values) + " |" for label, values in cells.items()),
    ]


def _extrema(r: Array, g: Array) -> tuple[int, int, int]:
    """Return the positions of the first peak, the first minimum and the second peak of a curve."""
    peak = int(g.argmax())
    low = peak + int(g[peak : max(peak + 1, int(np.searchsorted(r, BEFORE_SECOND_PEAK)))].argmin())
    return peak, low, low + int(g[low:].argmax())


@click.command("page")
@click.argument("models", nargs=-1)
@click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, help="Folder of the results."
)
@click.option(
    "--docs", type=click.Path(path_type=Path, file_okay=False), default=ROOT / "docs", help="Folder of the page."
)
def command(models: tuple[str, ...], results: Path, docs: Path) -> None:
    """Write physics.md and its plots from the stored results of MODELS (names; all by default)."""
    found = read_results(results, models)
    teachers = read_model(results / TEACHER)
    for name, of_model in found.items():
        draw(docs / "figures" / f"physics-{name}.png", name, of_model, teachers.get("water"))
    write_atomically(docs / "physics.md", page_text(found, teachers).encode())
    click.echo(str(docs / "physics.md"))
