"""``mlff data validate``: whether a data set keeps every rule of the layout."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("validate")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(dataset: Path, as_json: bool) -> None:
    """Read all of DATASET and check every value; status 1, the data set and the rule, where one is broken."""
    from mlff_core.data.reader import Dataset

    with Dataset(dataset) as opened:
        opened.validate()
        n_structures, n_atoms, is_labelled = len(opened), opened.n_atoms, opened.is_labelled
    if as_json:
        click.echo(
            json.dumps({"valid": True, "n_structures": n_structures, "n_atoms": n_atoms, "labelled": is_labelled})
        )
        return
    words = "labelled" if is_labelled else "not labelled"
    click.echo(f"{dataset} keeps every rule: {n_structures} structures, {n_atoms} atoms, {words}")
