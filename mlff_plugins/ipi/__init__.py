"""i-PI: ``mlff serve-ipi`` drives it over a socket, ``<ffdirect>`` runs the model in i-PI's own process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlff_core.plugins.hookspecs import hookimpl
from mlff_plugins.ipi.engine import IPIDirectEngine, IPISocketEngine
from mlff_plugins.ipi.pes_file import PES_FILE

if TYPE_CHECKING:
    import click

    from mlff_core.plugins.engine import Engine

__all__ = ["PES_FILE", "IPIDirectEngine", "IPISocketEngine", "mlff_register_commands", "mlff_register_engines"]


@hookimpl
def mlff_register_engines() -> Iterable[Engine]:
    """Return i-PI's engines: over a socket and in its own process."""
    return [IPISocketEngine(), IPIDirectEngine()]


@hookimpl
def mlff_register_commands(cli: click.Group) -> None:
    """Add ``mlff serve-ipi``, ``mlff ipi-mts`` and ``mlff ipi-pes-path``."""
    from mlff_plugins.ipi.command import ipi_mts, ipi_pes_path, serve_ipi

    cli.add_command(serve_ipi)
    cli.add_command(ipi_mts)
    cli.add_command(ipi_pes_path)
