"""``mlff data split``: training, validation and test parts that share no molecule."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mlff_core.cli.options import SEED, Number


@click.command("split")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file and leave DATASET unchanged.")
@click.option(
    "--by",
    default="molecule",
    show_default=True,
    help="Split by molecule, scaffold (Bemis–Murcko, needs RDKit), composition or elements.",
)
@click.option("--validation", type=Number(0, 1), default=0.1, show_default=True, help="Fraction for validation.")
@click.option("--test", type=Number(0, 1), default=0.1, show_default=True, help="Fraction for testing.")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Random seed; the same seed gives the same split."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    dataset: Path, output: Path | None, by: str, validation: float, test: float, seed: int, as_json: bool
) -> None:
    """Split DATASET into training, validation and test parts, never by frame.

    \b
    Example:
      mlff data split data.h5 --by scaffold --validation 0.1 --test 0.1
    """  # noqa: D301
    from mlff_core.cli.data_labels import labelled_with, labels_of
    from mlff_core.data.split import split_dataset

    parts = split_dataset(dataset, output or dataset, by=by, validation=validation, test=test, seed=seed)
    if as_json:
        plain = {"path": str(output or dataset), "by": by, "seed": seed, "split": parts}
        click.echo(json.dumps({**plain, "labels": labels_of(output or dataset)}))
        return
    click.echo(f"{output or dataset}, by {by}: " + ", ".join(f"{name} {count}" for name, count in parts.items()))
    click.echo(f"  {labelled_with(output or dataset)}")
