"""What was measured of the three shipped students, read from the files that hold it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
FOLDER = DOCS / "students"
EXAMPLES = DOCS.parent / "examples" / "train"
RESULTS = DOCS.parent / "benchmarks" / "results"
NAMES = tuple(sorted(path.name.removesuffix(".stages.toml") for path in EXAMPLES.glob("*.stages.toml")))
"""The students that have a recipe, from the largest to the smallest."""
TEACHER = "so3lr"


def found(test: str) -> list[dict[str, Any]]:
    """Return what was measured of the three on a test set."""
    return [json.loads((FOLDER / f"{name}.{test}.json").read_text()) for name in NAMES]


def of_check(check: str, part: str = "metrics", models: Sequence[str] = NAMES) -> list[Any]:
    """Return the metrics, or another part, of a physics check of the three students, or of other models."""
    return [json.loads((RESULTS / "physics" / name / f"{check}.json").read_text())[part] for name in models]


def is_measured(check: str) -> bool:
    """Say whether a physics check was made of all three."""
    return all((RESULTS / "physics" / name / f"{check}.json").exists() for name in NAMES)


def physics(check: str, name: str, form: str, models: Sequence[str] = NAMES) -> str:
    """Return a figure of a physics check of the three students, or of other models."""
    values = [{one["name"]: one["value"] for one in metrics}[name] for metrics in of_check(check, models=models)]
    return " / ".join(map(form.format, values))


def validations(name: str, stage: int) -> list[dict[str, str]]:
    """Return the validations of a stage out of its log, none if there is no such stage."""
    path = FOLDER / f"{name}.stage{stage}.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return [row for row in csv.DictReader(file) if row["val_force_mae"]]


def learned_for(name: str) -> tuple[float, float]:
    """Return the hours and the epochs of all stages of a student."""
    hours, epochs, number = 0.0, 0.0, 1
    while rows := validations(name, number):
        hours += float(rows[-1]["minutes"]) / 60
        epochs += float(rows[-1]["epoch"])
        number += 1
    return hours, epochs


def row(*cells: str) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
