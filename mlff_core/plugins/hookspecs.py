"""The hooks by which plugins register engines, exporters, runtimes, teachers and commands.

Hooks only register: none is called inside an MD step. A plugin is a module named in the entry-point group ``mlff`` that
implements any of these with :data:`hookimpl`, imported from ``mlff_core``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from mlff_core.plugins.engine import Engine
    from mlff_core.plugins.exporter import Exporter
    from mlff_core.plugins.runtime import Runtime
    from mlff_core.plugins.teacher import Teacher

PROJECT = "mlff"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def mlff_register_engines() -> Iterable[Engine]:  # type: ignore[empty-body]
    """Return the MD engines of this plugin; called once, when an engine is first asked for."""


@hookspec
def mlff_register_exporters() -> Iterable[Exporter]:  # type: ignore[empty-body]
    """Return the exporters of this plugin; called once, at the first export."""


@hookspec
def mlff_register_runtimes() -> Iterable[Runtime]:  # type: ignore[empty-body]
    """Return the runtimes of this plugin; called once, when an exported file is first opened."""


@hookspec
def mlff_register_teachers() -> Iterable[Teacher]:  # type: ignore[empty-body]
    """Return the teachers of this plugin; called once, when a teacher is first asked for."""


@hookspec
def mlff_register_commands(cli: click.Group) -> None:
    """Add commands to the command line; called once, when it is built."""
