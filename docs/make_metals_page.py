"""Write the tables in ``docs/metals.md`` from ``benchmarks/results/metals.json`` and ``crystals.json``.

With files, ``metals.json`` is written first: ``--model VALIDATION JUDGE …`` for the student of the metals and
``--demo VALIDATION JUDGE`` for that of ``mlff demo --material Cu``. VALIDATION is what ``mlff validate --json`` prints,
JUDGE what ``mlff judge --set crystals --json`` does; several JUDGE files may hold one model each, the teacher last.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mlff_core.judging.crystals.properties import CrystalReport
from mlff_core.judging.crystals.report import GROUPS, deviations
from mlff_core.judging.definitions import number

PAGE = Path(__file__).with_name("metals.md")
FOLDER = Path(__file__).parents[1] / "benchmarks" / "results"
RESULTS, SPEED = FOLDER / "metals.json", FOLDER / "crystals.json"
COLUMNS = {
    "lattice_constant": ("a, Å", 3),
    "c11": ("C11, GPa", 0),
    "c12": ("C12", 0),
    "c44": ("C44", 0),
    "vacancy": ("vacancy, eV", 2),
    "surface_111": ("(111), J/m²", 2),
    "surface_100": ("(100)", 2),
    "surface_110": ("(110)", 2),
}
GOALS = {"lattice constants": 0.005, "elastic constants": 0.12, "vacancies": 0.10, "surfaces": 0.10}
"""Largest deviation from the teacher that the student is to have."""


def properties(found: dict[str, Any]) -> str:
    """Return student, teacher and experiment of each crystal."""
    student, teacher = found["models"]
    lines = ["| | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for symbol, values in student["crystals"].items():
        cells = []
        for key, (_, digits) in COLUMNS.items():
            of = (values, teacher["crystals"].get(symbol, {}), found["experiment"].get(symbol, {}))
            cells.append(" · ".join("–" if key not in one else f"{one[key]:.{digits}f}" for one in of))
        lines.append(f"| {symbol} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def from_teacher(found: dict[str, Any]) -> str:
    """Return the deviations from the teacher by group."""
    student, teacher = (
        [CrystalReport(one["model"], symbol, values) for symbol, values in one["crystals"].items()]
        for one in found["models"]
    )
    lines = ["| | mean | largest | at | goal |", "|---|---|---|---|---|"]
    for one in deviations(student, teacher):
        goal = f"{GOALS[one.group]:.1%}" if one.group in GOALS else ""
        lines.append(f"| {one.group} | {one.mean:.1%} | {one.largest:.1%} | {one.where} | {goal} |")
    assert len(lines) - 2 <= len(GROUPS)
    return "\n".join(lines) + "\n"


def errors(found: dict[str, Any]) -> str:
    """Return errors on the test set by kind of structure."""
    lines = ["| kind | structures | force MAE, eV/Å | force R² | energy MAE, meV/atom |", "|---|---|---|---|---|"]
    for kind, row in [*found["by_kind"].items(), ("all", {**found, "structures": found["n_structures"]})]:
        count = row.get("structures", row.get("n_structures"))
        cells = [number(row[key]) for key in ("force_mae", "force_r2", "energy_mae_mev_per_atom")]
        lines.append(f"| {kind} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def speed() -> str:
    """Return the time of an atom by preset and cutoff."""
    found = json.loads(SPEED.read_text())
    lines = [
        f"| student | cutoff, Å | neighbours | student, µs | {found['teacher']}, µs | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        times = [f"{1e3 * row[f'{who}_ms_per_atom']:.{digits}f}" for who, digits in (("student", 1), ("teacher", 0))]
        cells = (row["preset"], f"{row['cutoff']:g}", f"{row['neighbours']:.0f}", *times, f"{row['ratio']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return ``docs/metals.md`` with the tables of today's results."""
    found = json.loads(RESULTS.read_text())
    tables = {
        "demo": properties(found["demo"]["judge"]),
        "properties": properties(found["model"]["judge"]),
        "deviations": from_teacher(found["model"]["judge"]),
        "errors": errors(found["model"]["errors"]),
        "speed": speed(),
    }
    text = PAGE.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, rest = text.split(begin)
        text = before + begin + table + end + rest.split(end)[1]
    return text


def joined(files: list[str]) -> dict[str, Any]:
    """Return the errors of the first file and the judged crystals of the others, without what is not shown."""
    errors_of, *judges = (json.loads(Path(file).read_text()) for file in files)
    found = [one.get("crystals", one) for one in judges]
    judge = {**found[0], "models": [model for one in found for model in one["models"]]}
    for model in judge["models"]:
        model.pop("deviations", None)
    kept = ("n_structures", "n_molecules", "force_mae", "force_r2", "energy_mae_mev_per_atom", "by_kind")
    return {"errors": {key: errors_of[key] for key in kept}, "judge": judge}


def main() -> None:
    """Write the results of the given files, then the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", nargs="+", metavar="FILE")
    options.add_argument("--demo", nargs="+", metavar="FILE")
    arguments = options.parse_args()
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in ("model", "demo"):
        if files := getattr(arguments, name):
            content[name] = joined(files)
    if arguments.model or arguments.demo:
        RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
