"""Write the table of results in ``docs/judges.md`` from ``benchmarks/results/judges.json``.

With folders that ``mlff judge --out`` has written, their metrics first replace that file.
"""

import json
import sys
from pathlib import Path

from mlff_core.judging.references.compare import alike

PAGE = Path(__file__).with_name("judges.md")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "judges.json"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
COLUMNS = (
    ("HB375 MAE", "HB375", "MAE, equilibrium"),
    ("D442 MAE", "D442", "MAE, equilibrium"),
    ("IHB100 MAE", "IHB100", "MAE, equilibrium"),
    ("S66 MAE", "S66", "MAE, equilibrium"),
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


def join(folders: list[str]) -> None:
    """Write the metrics of these folders as the results, without the rows of single structures."""
    found = [one for folder in folders for one in json.loads((Path(folder) / "judge.json").read_text())["comparisons"]]
    kept = [
        {"model": one["model"], "set": one["set"], "metrics": one["metrics"], "skipped": alike(one["skipped"])}
        for one in found
    ]
    RESULTS.write_text(json.dumps({"comparisons": kept}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        join(sys.argv[1:])
    PAGE.write_text(page())
