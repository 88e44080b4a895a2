"""``mlff data merge``: several data sets of one teacher as one."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("merge")
@click.argument("datasets", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The data set to write.")
def command(datasets: tuple[Path, ...], output: Path) -> None:
    """Join DATASETS into one; molecules with the same SMILES become one, splits are not carried over."""
    from mlff_core.data.merge import merge

    click.echo(f"{output}: {merge(datasets, output)} structures of {len(datasets)} data sets")
