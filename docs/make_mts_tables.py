"""Write the tables and the plot of ``docs/multiple_time_steps.md`` from ``multiple_time_steps.json``.

``python docs/make_mts_tables.py`` writes the page, ``python docs/make_mts_tables.py --plot`` the plot too.
"""

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("multiple_time_steps.md")
PLOT = Path(__file__).with_name("figures") / "multiple-time-steps.png"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "multiple_time_steps.json"
BEGIN, END = "<!-- measured -->\n", "<!-- end of measured -->\n"

Row = dict[str, Any]


def name(row: Row) -> str:
    """Return the models of a row."""
    return f"`{row['outer']}`" + ("" if row["inner"] is None else f" with `{row['inner']}` inside")


def tables(content: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "**Speed**, with a Langevin thermostat:",
        "",
        "| models | copies | outer step, fs | ns/day of processor time | beside the outer model alone |",
        "|---|---|---|---|---|",
    ]
    for row in content.get("speed", ()):
        heavy = " (heavy H)" if row["hydrogen_mass"] else ""
        lines.append(
            f"| {name(row)}{heavy} | {row['copies']} | {row['outer_step_fs']:g} | {row['cpu_ns_per_day']:.3g} | "
            f"{row['factor']:.2f} |"
        )
    lines += [
        "",
        "**Energy** of the outer model in NVE. The drift is that of a line through the run, the fluctuation is around "
        "that line. In a picosecond the error of the splitting itself wanders by as much as 1 meV/atom in either "
        "direction, so only the long runs say whether there is a drift:",
        "",
        "| models | hydrogen, amu | outer step, fs | length, ps | drift, meV/atom/ps | fluctuation, meV/atom |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(content["energy"], key=_place):
        energy = (
            "broke | broke"
            if row["drift_mev_per_atom_ps"] is None
            else f"{row['drift_mev_per_atom_ps']:+.2f} | {row['fluctuation_mev_per_atom']:.2f}"
        )
        length = f"{row['length_ps']:g}" if "length_ps" in row else "–"
        lines.append(
            f"| {name(row)} | {row['hydrogen_mass'] or 1.008:g} | {row['outer_step_fs']:g} | {length} | {energy} |"
        )
    for part, title, columns in (
        (
            "water",
            "**Water**: g(r) of the oxygens of 24 molecules",
            "largest difference of g(r) | over its standard error",
        ),
        ("peptide", "**Alanine dipeptide**", "φ, over its standard error | ψ, over its standard error"),
    ):
        rows = content.get(part, ())
        if len(rows) < 2:
            continue
        first = rows[0]
        copies = f" of {first['copies']} copies" if "copies" in first else ""
        lines += [
            "",
            f"{title}, {first['length_ps']:g} ps{copies}, beside the plain run of the first row. Differences over "
            "their standard errors are root mean squares over the points of the curve; about 1 is what chance gives:",
            "",
            f"| models | hydrogen, amu | outer step, fs | temperature, K | {columns} |",
            "|---|---|---|---|---|---|",
        ]
        for row in rows:
            cells = "– | –" if row is first else differences(part, row, first)
            lines.append(
                f"| {name(row)} | {row['hydrogen_mass'] or 1.008:g} | {row['outer_step_fs']:g} | "
                f"{row['temperature_kelvin']:.1f} | {cells} |"
            )
    return "\n".join(lines) + "\n"


def _place(row: Row) -> tuple[Any, ...]:
    return row["outer"] != "so3lr", row["inner"] or "", row["hydrogen_mass"] or 0, row["outer_step_fs"]


def differences(part: str, row: Row, first: Row) -> str:
    """Return two cells: how far the distributions of a run are from those of the first."""
    if part == "water":
        points = [k for k, r in enumerate(row["r"]) if r > 2.4 and row["g_error"][k] + first["g_error"][k] > 0]
        apart = [abs(row["g"][k] - first["g"][k]) for k in points]
        errors = [(row["g_error"][k] ** 2 + first["g_error"][k] ** 2) ** 0.5 for k in points]
        return f"{max(apart):.2f} | {_mean_square(apart, errors):.2f}"
    cells = []
    for angle in ("phi", "psi"):
        one, other = row[angle], first[angle]
        points = [k for k in range(len(one["angle"])) if one["error"][k] + other["error"][k] > 0]
        apart = [one["density"][k] - other["density"][k] for k in points]
        errors = [(one["error"][k] ** 2 + other["error"][k] ** 2) ** 0.5 for k in points]
        cells.append(f"{_mean_square(apart, errors):.2f}")
    return " | ".join(cells)


def _mean_square(apart: list[float], errors: list[float]) -> float:
    return float((sum((a / e) ** 2 for a, e in zip(apart, errors, strict=True)) / len(apart)) ** 0.5)


def page() -> str:
    """Return the page with the tables of today's results."""
    before, rest = PAGE.read_text().split(BEGIN)
    return before + BEGIN + tables(json.loads(RESULTS.read_text())) + END + rest.split(END)[1]


def plot(content: dict[str, Any]) -> None:
    """Draw the fluctuation against the outer step, g(r), and the distribution of φ."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    energy, water, peptide = figure.subplots(1, 3)
    curves: dict[tuple[str, float | None], list[Row]] = {}
    for row in content["energy"]:
        if row["outer"] == "so3lr" and row["inner"] and row["drift_mev_per_atom_ps"] is not None:
            curves.setdefault((row["inner"], row["hydrogen_mass"]), []).append(row)
    for (inner, heavy), rows in curves.items():
        rows.sort(key=lambda row: row["outer_step_fs"])
        steps, values = [r["outer_step_fs"] for r in rows], [r["fluctuation_mev_per_atom"] for r in rows]
        energy.plot(steps, values, "o--" if heavy else "o-", label=inner + (", 3 amu" if heavy else ""))
    energy.set(xlabel="outer step, fs", ylabel="fluctuation, meV/atom", yscale="log", title="aspirin, so3lr outside")
    energy.legend(fontsize=6)
    for axes, part, x, y, title in (
        (water, "water", "r, Å", "g(r)", "24 water molecules"),
        (peptide, "peptide", "φ, degrees", "density", "alanine dipeptide"),
    ):
        for row in content.get(part, ()):
            phi = row.get("phi", {})
            curve = (
                (row["r"], row["g"], row["g_error"])
                if part == "water"
                else (phi["angle"], phi["density"], phi["error"])
            )
            axes.errorbar(
                *curve, capsize=2, label=f"{row['outer_step_fs']:g} fs" + (", 3 amu" if row["hydrogen_mass"] else "")
            )
        axes.set(xlabel=x, ylabel=y, title=title)
        if content.get(part):
            axes.legend(fontsize=7)
    figure.savefig(PLOT, dpi=110)


if __name__ == "__main__":
    PAGE.write_text(page())
    if "--plot" in sys.argv:
        plot(json.loads(RESULTS.read_text()))
