"""Active learning: a committee of students selects, from its own dynamics, structures for the teacher to label.

Registers ``mlff distill active``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mlff_register_commands(cli: click.Group) -> None:
    """Add ``mlff distill``."""
    from mlff_plugins.active.command import command

    cli.add_command(command, "distill")
