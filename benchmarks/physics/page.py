"""The page of the docs: a table of every figure and six panels a model, from the JSON files alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.physics.record import RESULTS, ROOT, TEACHER
from benchmarks.physics.water import experiment
from mlff_core.atomic_write import write_atomically
from mlff_core.errors import InputError

Results = dict[str, dict[str, Any]]
"""Of one model: what each check has written, by the check's name."""

CHECKS = {
    "nve": "NVE: twenty molecules of 9–60 atoms at the student's minima, 5 ps at 300 K in a bath of friction 10/ps, "
    "then left alone; 0.5 fs, the potential in float32. The drift is the slope of a line fitted to the total energy, "
    "over the number of atoms. A bond is broken once it is longer than 1.5 times its length at the minimum; it is "
    "looked at every 1 ps.",
    "langevin": "Langevin: aspirin, caffeine, sulfamethoxazole, ibuprofen and fluconazole at 500 K, friction 1/ps.",
    "water": "Water: 64 molecules in a cube at 0.997 g/cm³, brought to 300 K by 5 ps of our own Langevin dynamics, "
    "then by OpenMM (`PythonForce`) and LAMMPS (`fix external`), 0.5 fs, friction 5/ps, each with noise of its own. "
    "g(OO) in bins of 0.1 Å; its standard error from five blocks of time; the engines' difference is counted between "
    "2.4 and 6.2 Å. The experiment is the curve that mlipaudit 0.1.8 ships.",
    "relaxation": "Relaxed geometries: the twenty molecules of the NVE runs, relaxed by the teacher and from there by "
    "the student (largest force component 0.001 eV/Å); root mean square distance of all atoms after the best "
    "superposition.",
    "frequencies": "Frequencies: fifteen molecules, each potential at its own minimum, modes in rising order.",
    "torsions": "Torsions: a rigid scan of one bond in each of twenty molecules from the teacher's minimum, every 15°, "
    "angles with clashes left out; the barrier is the highest less the lowest energy of the scan.",
    "dimers": "Dimers: every pair of elements alone, down to 0.5 Å; the wall begins at 0.7 sums of covalent radii.",
    "s66": "S66: energy of the pair less those of its parts in the same geometry. Geometries and reference energies as "
    "Psi4 ships them (J. Řezáč et al., J. Chem. Theory Comput. 7, 2427 (2011), doi:10.1021/ct2002946). Its "
    "molecules are among those whose pairs are learned from, as a student relaxes them; its geometries are not.",
}
"""Each check in the page's words, in the page's order."""


def read_results(folder: Path, models: Sequence[str]) -> dict[str, Results]:
    """Return what the checks have written for each model, by the model's name.

    Raises
    ------
    InputError
        There is nothing to make a page from.
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


def page_text(found: dict[str, Results]) -> str:
    """Return the page in Markdown."""
    lines = [
        "# Physics of the students",
        "",
        "Written by `python -m benchmarks.physics page` from `benchmarks/results/physics`; the commands that",
        "measure are in [validation](validation.md). A figure in bold misses its goal.",
        "",
        "| | goal | " + " | ".join(found) + " |",
        "|---|---|" + "---|" * len(found),
    ]
    for check in CHECKS:
        rows: dict[str, tuple[str, str]] = {}
        for results in found.values():
            for row in results.get(check, {"figures": []})["figures"]:
                goal = "" if row["goal"] is None else f"≤ {row['goal']:g}"
                rows.setdefault(row["name"], (row["unit"], goal))
        for name, (unit, goal) in rows.items():
            cells = [_cell(results, check, name) for results in found.values()]
            lines.append(f"| {name}{f', {unit}' if unit else ''} | {goal} | " + " | ".join(cells) + " |")
    if missing := [text for name, results in found.items() if (text := _not_run(name, results))]:
        lines += ["", f"Not measured on these files: {'; '.join(missing)}."]
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
        lines += ["", f"## {name}", "", f"![Six panels of the physics of {name}](figures/physics-{name}.png)"]
    return "\n".join(lines) + "\n"


def _not_run(name: str, results: Results) -> str:
    """Return which checks a model still lacks, or nothing."""
    lacking = [check for check in CHECKS if check not in results]
    return f"{name} {', '.join(lacking)}" if lacking else ""


def _cell(results: Results, check: str, name: str) -> str:
    for row in results.get(check, {"figures": []})["figures"]:
        if row["name"] == name:
            value = "none" if row["value"] is None else f"{row['value']:g}"
            return f"**{value}**" if row["passed"] is False else value
    return ""


def draw(path: Path, name: str, results: Results, teachers_water: dict[str, Any] | None) -> None:
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


@click.command("page")
@click.argument("models", nargs=-1)
@click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, help="Folder of the results."
)
@click.option(
    "--docs", type=click.Path(path_type=Path, file_okay=False), default=ROOT / "docs", help="Where the page goes."
)
def command(models: tuple[str, ...], results: Path, docs: Path) -> None:
    """Write physics.md and its figures from the results of MODELS (names; all there are), with no checks run."""
    found = read_results(results, models)
    teachers_water = read_model(results / TEACHER).get("water")
    for name, of_model in found.items():
        draw(docs / "figures" / f"physics-{name}.png", name, of_model, teachers_water)
    write_atomically(docs / "physics.md", page_text(found).encode())
    click.echo(str(docs / "physics.md"))
