"""Benchmarks: the time of whole MD steps, alone and compared with other programs; registers ``mlff benchmark``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mlff_register_commands(cli: click.Group) -> None:
    """Add ``mlff benchmark``."""
    from mlff_plugins.benchmark.command import command

    cli.add_command(command, "benchmark")
