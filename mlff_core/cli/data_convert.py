"""``mlff data convert``: data sets to and from structure files."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--license", "license_", default="", help="Licence of the labels, where a data set is made.")
def command(source: Path, output: Path, license_: str) -> None:
    """Write SOURCE as OUTPUT; the endings say what they are (.h5, .extxyz, .xyz, .traj …)."""
    from mlff_core.data.convert import convert

    click.echo(f"{output}: {convert(source, output, license_)} structures")
