"""``mlff validate``: judge a model on a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["train", "validation", "test"]), help="Judge on this split only.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(model: str, data: Path, split: str | None, device: str, as_json: bool) -> None:
    """Judge MODEL (a name or a file) on the labelled structures of DATA, an HDF5 data set."""
    from mlff_core.cli.judging_tables import evaluation_tables, judged
    from mlff_core.data.hdf5 import Dataset
    from mlff_core.registry import load

    with Dataset(data) as dataset:
        evaluation = judged(load(model, device=device), dataset, split)
    found: dict[str, Any] = evaluation.to_json()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        evaluation_tables(evaluation)
