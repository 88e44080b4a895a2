"""``mlff plugins``: the registered plugins, and whether they work here."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlff_core.cli.plugins_check import check
from mlff_core.plugins.host import PluginRow, host

STATUS_STYLE = {"ready": "green", "missing": "yellow", "broken": "bold red"}


@click.group()
def command() -> None:
    """List and check plugins."""


command.add_command(check)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of rows.")
def list_plugins(as_json: bool) -> None:
    """List all engines, exporters, runtimes and teachers, and whether they are ready."""
    rows = host().rows()
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    Console().print(table_of(rows))
    if any(row.status == "broken" for row in rows):
        click.echo("Broken plugins cannot be used; MLFF_STRICT_PLUGINS=1 shows the traceback.", err=True)


def table_of(rows: list[PluginRow]) -> Table:
    """Return the rows as a table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "status", "from"):
        table.add_column(heading, no_wrap=True)
    table.add_column("message", overflow="fold")
    for row in rows:
        message = f"{row.message}; {row.install_hint}" if row.install_hint else row.message
        table.add_row(
            row.name,
            row.kind,
            Text(row.status, style=STATUS_STYLE[row.status]),
            f"{row.distribution} {row.version}",
            Text(message),
        )
    return table
