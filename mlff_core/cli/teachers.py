"""``mlff teachers``: the teachers that can label structures."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlff_core.cli.plugins import STATUS_STYLE
from mlff_core.plugins.host import host
from mlff_core.plugins.teacher import Teacher


@click.group()
def command() -> None:
    """List teachers."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of rows.")
def list_teachers(as_json: bool) -> None:
    """List all teachers with their elements, properties, measured time and licence, and whether they are ready."""
    rows = teacher_rows()
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    Console().print(table_of(rows))
    for row in rows:
        if message := "; ".join(text for text in (row["message"], row["install_hint"]) if text):
            click.echo(f"{row['name']}: {message}")
    click.echo("A teacher's options are listed by --json and in docs/teachers.md.", err=True)


def teacher_rows() -> list[dict[str, Any]]:
    """Return one row for each teacher, then one for each broken plugin; imports no engine."""
    providers = {provider.name: provider for provider in host().providers("teacher")}
    rows = []
    for row in host().rows():
        teacher = providers.get(row.name)
        if row.kind == "teacher" and isinstance(teacher, Teacher):
            about: dict[str, Any] = {
                "method": teacher.method,
                "licence": teacher.licence,
                "elements": elements_as_text(teacher.elements),
                "charge": teacher.charges == "any",
                "spin": teacher.spin_multiplicities == "any",
                "stress": "stress" in teacher.gives,
                "ms_per_atom": dict(teacher.ms_per_atom),
                "options": dict(teacher.options),
                "summary": teacher.summary,
            }
        elif row.kind == "plugin":
            about = {}
        else:
            continue
        rows.append(
            {"name": row.name, "kind": row.kind, "distribution": row.distribution, "version": row.version}
            | about
            | {"status": row.status, "message": row.message, "install_hint": row.install_hint}
        )
    return rows


def elements_as_text(numbers: tuple[int, ...]) -> str:
    """Return the symbols, six or more elements in a row as a range.

    Examples
    --------
    >>> elements_as_text((1, 6, 8))
    'H C O'
    >>> elements_as_text(tuple(range(1, 87)))
    'H–Rn'
    >>> elements_as_text((*range(1, 84), *range(89, 95)))
    'H–Bi Ac–Pu'
    """
    from ase.data import chemical_symbols

    rows: list[list[int]] = []
    for z in numbers:
        if rows and z == rows[-1][-1] + 1:
            rows[-1].append(z)
        else:
            rows.append([z])
    return " ".join(
        f"{chemical_symbols[row[0]]}–{chemical_symbols[row[-1]]}"
        if len(row) > 5
        else " ".join(chemical_symbols[z] for z in row)
        for row in rows
    )


WRAPPED = {"elements": 8, "ms/atom": 11}
"""Columns of the table that take several lines in a narrow terminal, and their least width."""


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Return the rows as a table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "status", "elements", "charge", "spin", "cells", "ms/atom"):
        table.add_column(heading, no_wrap=heading not in WRAPPED, min_width=WRAPPED.get(heading))
    table.add_column("licence", min_width=10, overflow="fold")
    for row in rows:
        can = ["yes" if row.get(key) else "no" if key in row else "" for key in ("charge", "spin", "stress")]
        table.add_row(
            row["name"],
            Text(row["status"], style=STATUS_STYLE[row["status"]]),
            row.get("elements", ""),
            *can,
            " ".join(f"{ms:.3g} ({system})" for system, ms in row.get("ms_per_atom", {}).items()),
            row.get("licence", ""),
        )
    return table
