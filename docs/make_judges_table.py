"""Write the table of results in ``docs/judges.md`` from ``benchmarks/results/judges.json``."""

import json
from pathlib import Path

PAGE = Path(__file__).with_name("judges.md")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "judges.json"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
COLUMNS = (
    ("HB375 MAE", "HB375", "MAE, equilibrium"),
    ("D442 MAE", "D442", "MAE, equilibrium"),
    ("IHB100 MAE", "IHB100", "MAE, equilibrium"),
    ("conformers MAE", "conformers", "MAE of relative energies"),
    ("median R²", "conformers", "R² of relative energies, median"),
    ("median rank", "conformers", "rank correlation, median"),
)


def table() -> str:
    """Return the results as Markdown: one row for each model."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for one in json.loads(RESULTS.read_text())["comparisons"]:
        name = next(name for _, name, _ in COLUMNS if name in one["set"])
        found.setdefault(one["model"], {})[name] = one["metrics"]
    lines = [f"| model | {' | '.join(title for title, _, _ in COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for model, sets in found.items():
        values = [sets.get(name, {}).get(key) for _, name, key in COLUMNS]
        shown = ("–" if value is None else f"{value:.2f}" for value in values)
        lines.append(f"| `{model}` | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return ``docs/judges.md`` with the table of today's results."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
