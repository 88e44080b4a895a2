"""All steps from a teacher to a student, for one small molecule or the crystals of an element: ``mlff demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mlff_register_commands(cli: click.Group) -> None:
    """Add ``mlff demo``."""
    from mlff_plugins.demo.command import command

    cli.add_command(command, "demo")
