"""``mlff data validate``: check that a data set follows every rule of the format."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("validate")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(dataset: Path, as_json: bool) -> None:
    """Check every value of DATASET against the rules of the format; a broken rule is an error with status 1.

    \b
    Example:
      mlff data validate data.h5
    """  # noqa: D301
    from mlff_core.data.reader import Dataset

    with Dataset(dataset) as opened:
        opened.validate()
        n_structures, n_atoms, is_labelled = len(opened), opened.n_atoms, opened.is_labelled
    if as_json:
        click.echo(
            json.dumps({"valid": True, "n_structures": n_structures, "n_atoms": n_atoms, "labelled": is_labelled})
        )
        return
    labels = "labelled" if is_labelled else "not labelled"
    click.echo(f"{dataset} is valid: {n_structures} structures, {n_atoms} atoms, {labels}")
