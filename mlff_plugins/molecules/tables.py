"""Tables on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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
