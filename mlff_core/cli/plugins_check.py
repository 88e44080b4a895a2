"""``mlff plugins check NAME``: the shipped contract tests, run on the user's machine."""

from __future__ import annotations

import difflib
import json
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from mlff_core.errors import MissingDependencyError, PluginError
from mlff_core.plugins.host import KINDS, host
from mlff_core.testing.runner import ContractResult, contract_for, run_test, test_names

STYLE = {"ok": "green", "failed": "bold red", "skipped": "dim"}


@click.command("check")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(list(KINDS)), help="Check only this kind; by default all kinds with this name."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of tests.")
@click.pass_context
def check(ctx: click.Context, name: str, kind: str | None, as_json: bool) -> None:
    """Run the contract tests of the engine, exporter, runtime or teacher NAME on this machine.

    The exit status is 1 if a test fails.

    \b
    Example:
      mlff plugins check ase
    """  # noqa: D301
    kinds = [kind] if kind is not None else kinds_of(name)
    for each in kinds:
        provider = host().get(each, name)
        if provider.missing():
            raise MissingDependencyError(
                f"{each} {name} cannot be checked: {'; '.join(provider.missing())}. "
                f"Install with: {provider.install_hint}"
            )
    results = [(each, result) for each in kinds for result in run_with_progress(each, name)]
    if as_json:
        click.echo(json.dumps([as_row(each, name, result) for each, result in results], indent=2))
    else:
        Console().print(table_of(results))
        for _, result in results:
            if result.message:
                click.echo(f"{result.status}: {result.name}: {result.message}")
    counts = {status: sum(result.status == status for _, result in results) for status in STYLE}
    click.echo(f"{name}: {', '.join(f'{count} {status}' for status, count in counts.items())}", err=True)
    if counts["failed"]:
        ctx.exit(1)


def kinds_of(name: str) -> list[str]:
    """Return the kinds of all providers called ``name``.

    Raises
    ------
    PluginError
        There is none; the message names the known ones.
    """
    names = {kind: [provider.name for provider in host().providers(kind)] for kind in KINDS}
    kinds = [kind for kind, offered in names.items() if name in offered]
    if not kinds:
        known = sorted({other for offered in names.values() for other in offered})
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise PluginError(f"nothing is called {name!r}{hint} There are: {', '.join(known) or 'none'}")
    return kinds


def run_with_progress(kind: str, name: str) -> list[ContractResult]:
    """Return the results of a contract, with a progress bar on a terminal."""
    contract = contract_for(kind, name)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # Refreshed between the tests only: output of a drawing thread would count as output of the plugin.
    with Progress(
        *columns, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
    ) as bar:
        tests = test_names(contract)
        task = bar.add_task(f"{kind} {name}", total=len(tests))
        results = []
        for test in tests:
            results.append(run_test(contract, test))
            bar.update(task, advance=1)
            bar.refresh()
    return results


def as_row(kind: str, name: str, result: ContractResult) -> dict[str, Any]:
    """Return one result for JSON."""
    return {
        "name": name,
        "kind": kind,
        "test": result.name,
        "status": result.status,
        "message": result.message,
        "wall_time_s": round(result.seconds, 3),
    }


def table_of(results: list[tuple[str, ContractResult]]) -> Table:
    """Return the results as a table."""
    table = Table(box=None, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    table.add_column("test", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for kind, result in results:
        table.add_row(kind, result.name, Text(result.status, style=STYLE[result.status]), f"{result.seconds:.2f}")
    return table
