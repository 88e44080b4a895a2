"""Write the table of recipes in ``docs/training.md`` from ``benchmarks/results/recipes.json``."""

import json
from pathlib import Path

PAGE = Path(__file__).with_name("training.md")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "recipes.json"
BEGIN, END = "<!-- recipes -->\n", "<!-- end of recipes -->\n"


def table() -> str:
    """Return the results as Markdown: one row for each recipe, with the errors of each seed."""
    lines = []
    for preset, found in json.loads(RESULTS.read_text())["presets"].items():
        lines += [
            f"`{preset}`, {found['cpu_seconds']:.0f} s of one core each, {found['structures']:,} structures:",
            "",
            "| recipe | step, ms | steps | force MAE, eV/Å | force RMSE, eV/Å | energy MAE, meV/atom |",
            "|---|---|---|---|---|---|",
        ]
        for name, recipe in found["recipes"].items():
            cells = [
                ", ".join(f"{run[key]:.{digits}f}" for run in recipe["runs"])
                for key, digits in (("force_mae", 4), ("force_rmse", 3), ("energy_mae_mev_per_atom", 1))
            ]
            lines.append(f"| {name} | {recipe['step_cpu_ms']:.1f} | {recipe['steps']:,} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def page() -> str:
    """Return ``docs/training.md`` with the table of today's results."""
    before, rest = PAGE.read_text().split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
