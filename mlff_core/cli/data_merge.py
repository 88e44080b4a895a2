"""``mlff data merge``: several data sets of one teacher joined into one."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("merge")
@click.argument("datasets", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The data set to write.")
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="DATASET=W",
    help="Multiply the loss weights of this data set's structures; may be given several times.",
)
def command(datasets: tuple[Path, ...], output: Path, weights: tuple[str, ...]) -> None:
    """Join DATASETS into one; molecules with the same SMILES become one, and splits are dropped.

    \b
    Example:
      mlff data merge molecules.h5 liquids.h5 -o all.h5 --weight liquids.h5=2
    """  # noqa: D301
    from mlff_core.cli.data_labels import labelled_with
    from mlff_core.data.merge import merge

    factors = dict(_weight(text) for text in weights)
    n_structures = merge(datasets, output, factors)
    click.echo(f"{output}: {n_structures} structures of {len(datasets)} data sets, {labelled_with(output)}")


def _weight(text: str) -> tuple[Path, float]:
    name, equals, value = text.rpartition("=")
    try:
        return Path(name), float(value if equals else "none")
    except ValueError:
        raise click.BadParameter(f"wanted DATASET=NUMBER, got {text!r}", param_hint="--weight") from None
