"""Answers about a molecule: conformers, vibrations, spectra, torsions, interaction energies.

Registers ``mlff conformers``, ``mlff vibrations``, ``mlff spectrum``, ``mlff scan`` and ``mlff interaction``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mlff_register_commands(cli: click.Group) -> None:
    """Add the commands."""
    from mlff_plugins.molecules.conformers_command import command as conformers
    from mlff_plugins.molecules.interaction_command import command as interaction
    from mlff_plugins.molecules.scan_command import command as scan
    from mlff_plugins.molecules.spectrum_command import command as spectrum
    from mlff_plugins.molecules.vibrations_command import command as vibrations

    cli.add_command(conformers, "conformers")
    cli.add_command(interaction, "interaction")
    cli.add_command(scan, "scan")
    cli.add_command(spectrum, "spectrum")
    cli.add_command(vibrations, "vibrations")
