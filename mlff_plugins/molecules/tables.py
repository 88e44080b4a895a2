"""Tables on standard output, and the check of a plot's file before the work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mlff_core.errors import InputError


def show(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, its title on a line of its own; the first column to the left, the others to the right."""
    from rich import box
    from rich.table import Table

    from mlff_core.cli.judging_tables import stdout_console

    table = Table(box=box.SIMPLE_HEAD)
    for k, heading in enumerate(headings):
        table.add_column(heading, justify="right" if k else "left")
    for row in rows:
        table.add_row(*row)
    console = stdout_console()
    console.print(title, style="bold", highlight=False, markup=False)
    console.print(table)


def check_plot(path: Path) -> None:
    """Check that a plot can be written to a file; makes its folder.

    Raises
    ------
    InputError
        The ending is not .png, or nothing can be written there.
    MissingDependencyError
        matplotlib is not installed.
    """
    from mlff_core.atomic_write import check_place
    from mlff_core.judging.report.plots import require_plots

    if path.suffix.lower() != ".png":
        raise InputError(f"plots are PNG files, and {path} has another ending; choose .png")
    check_place(path)
    require_plots()
