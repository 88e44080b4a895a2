"""Tables of ``mlff validate`` and ``mlff compare``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from mlff_core.judging.definitions import METRICS, OLDER, measured, number

if TYPE_CHECKING:
    from mlff_core.judging.outcome import Evaluation
    from mlff_core.judging.physics.result import Check, PhysicsReport


def evaluation_tables(evaluation: Evaluation) -> None:
    """Print the metrics, definitions of R² and older conventions, and tables by element and kind on stdout."""
    console = stdout_console()
    found = evaluation.to_json()
    where = found["data"]["file"] + (f", split {found['data']['split']}" if found["data"]["split"] else "")
    overall = new_table(
        f"{found['model']['name']} on {where}: {found['n_structures']} structures of {found['n_molecules']} molecules",
        "metric",
        "value",
        "95 % interval",
        "unit",
    )
    for name, (label, unit, _) in measured(found):
        low, high = found["intervals"].get(name, (None, None))
        overall.add_row(label, number(found[name]), "" if low is None else f"{number(low)} to {number(high)}", unit)
    console.print(overall)
    older = [metric for metric in METRICS.values() if metric.unit == OLDER]
    for label, unit, definition in (METRICS["force_r2"], *older):
        _define(console, f"{label}, {unit}" if unit else label, definition)
    console.print()
    for title, rows in (("by element", found["by_element"]), ("by kind of geometry", found["by_kind"])):
        columns = list(next(iter(rows.values())))
        table = new_table(title, "", *(_header(column) for column in columns))
        for name, row in rows.items():
            table.add_row(name, *(number(row[column]) for column in columns))
        console.print(table)
    for reason, count in found["skipped"].items():
        console.print(f"{count} structures not judged: {reason}", style="red", highlight=False, markup=False)


def comparison_table(evaluations: Sequence[Evaluation]) -> None:
    """Print models side by side on stdout, one metric per row."""
    first = evaluations[0]
    where = first.data["file"] + (f", split {first.data['split']}" if first.data["split"] else "")
    title = f"{len(first.table.index)} structures of {where}"
    table = new_table(title, "", *(evaluation.card.name for evaluation in evaluations), "unit")
    counts = [evaluation.card.n_parameters or None for evaluation in evaluations]
    table.add_row("parameters", *("–" if count is None else f"{count:,}" for count in counts), "")
    for name, (label, unit, _) in measured(*(evaluation.metrics for evaluation in evaluations)):
        table.add_row(label, *(number(evaluation.metrics[name]) for evaluation in evaluations), unit)
    if any(evaluation.skipped for evaluation in evaluations):
        table.add_row(
            "not judged", *(str(sum(evaluation.skipped.values())) for evaluation in evaluations), "structures"
        )
    stdout_console().print(table)


def physics_table(report: PhysicsReport) -> None:
    """Print the physics checks on stdout, and the definitions of metrics that have an older convention."""
    table = new_table("physics checks", "check", "found", "limit", "unit", "")
    for check in report.checks:
        verdict = {True: "[green]passed[/green]", False: "[red]failed[/red]", None: ""}[check.passed]
        limit = "" if check.limit is None else f"{check.limit:g}"
        table.add_row(check.name, number(check.value), limit, check.unit, verdict)
    console = stdout_console()
    console.print(table)
    for name, definition in _conventions(report.checks).items():
        _define(console, name, definition)
    for check in report.checks:
        if check.value is None:
            console.print(f"{check.name}: {check.definition}", style="red", highlight=False, markup=False)


def _conventions(checks: Sequence[Check]) -> dict[str, str]:
    """Return the definitions of each metric of an older convention and of the metric it corresponds to."""
    # A metric measured in several places has them in brackets, and notes on them after a semicolon.
    found = {check.name.split(" (")[0]: check.definition.split(";")[0] for check in checks if check.value is not None}
    pairs = [(name.removesuffix(f", {OLDER}"), name) for name in found if name.endswith(OLDER)]
    return {name: found[name] for pair in pairs for name in pair if name in found}


def _define(console: Console, name: str, definition: str) -> None:
    console.print(f"  {name}: {definition}", style="dim", highlight=False, markup=False)


def stdout_console() -> Console:
    """Return the console for results: wide enough for every column where the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def _header(column: str) -> str:
    if column not in METRICS:
        return column.removeprefix("n_")
    label, unit, _ = METRICS[column]
    return f"{label}\n{unit}" if unit else label


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table with the first column and the column of units aligned to the left."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 or column == "unit" else "right")
    return table
