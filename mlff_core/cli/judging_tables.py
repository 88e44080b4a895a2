"""Tables and progress of ``mlff validate`` and ``mlff compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from mlff_core.data.hdf5 import Dataset
    from mlff_core.distill.evaluation import Evaluation
    from mlff_core.potential import Potential

FIGURES = {
    "force_mae": ("force MAE", "eV/Å"),
    "force_rmse": ("force RMSE", "eV/Å"),
    "force_r2": ("force R²", ""),
    "force_angle_mean_deg": ("mean angle", "°"),
    "force_angle_median_deg": ("median angle", "°"),
    "energy_mae_mev_per_atom": ("energy MAE", "meV/atom"),
    "energy_rmse_mev_per_atom": ("energy RMSE", "meV/atom"),
    "relative_energy_mae_mev_per_atom": ("relative E MAE", "meV/atom"),
    "force_r2_magnitude": ("R² of |force|", "older convention"),
}
"""What each figure is called in a table, and its unit."""


def judged(potential: Potential, dataset: Dataset, split: str | None) -> Evaluation:
    """Return the evaluation, with a progress line on stderr where that is a terminal."""
    from mlff_core.distill.evaluate import evaluate

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(f"judging {potential.card.name}", total=None)
        return evaluate(
            potential,
            dataset,
            split,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def evaluation_tables(evaluation: Evaluation) -> None:
    """Print the figures, by element and by kind, on stdout."""
    console = stdout_console()
    found = evaluation.to_json()
    where = found["data"]["file"] + (f", split {found['data']['split']}" if found["data"]["split"] else "")
    overall = _table(
        f"{found['model']['name']} on {where}: {found['n_structures']} structures of {found['n_molecules']} molecules",
        "figure",
        "value",
        "95 % interval",
        "unit",
    )
    for name, (label, unit) in FIGURES.items():
        low, high = found["intervals"].get(name, (None, None))
        overall.add_row(label, number(found[name]), "" if low is None else f"{number(low)} to {number(high)}", unit)
    console.print(overall)
    for title, rows in (("by element", found["by_element"]), ("by kind of geometry", found["by_kind"])):
        columns = list(next(iter(rows.values())))
        table = _table(title, "", *(_header(column) for column in columns))
        for name, row in rows.items():
            table.add_row(name, *(number(row[column]) for column in columns))
        console.print(table)
    for reason, count in found["skipped"].items():
        console.print(f"{count} structures not judged: {reason}", style="red", highlight=False)


def stdout_console() -> Console:
    """Return the console for results: wide enough for every column where the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def number(value: float | int | None) -> str:
    """Return a number with four significant digits, or a dash."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _header(column: str) -> str:
    if column not in FIGURES:
        return column.removeprefix("n_")
    label, unit = FIGURES[column]
    return f"{label}\n{unit}" if unit else label


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 or column == "unit" else "right")
    return table
