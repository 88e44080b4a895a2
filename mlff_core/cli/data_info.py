"""``mlff data info``: the contents of a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("info")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(dataset: Path, as_json: bool) -> None:
    """Show the contents of DATASET: sizes, elements, kinds, split, teacher, force statistics.

    \b
    Example:
      mlff data info data.h5
    """  # noqa: D301
    from mlff_core.data.summary import summarize

    summary = summarize(dataset)
    if as_json:
        click.echo(json.dumps(summary))
        return
    for key, value in summary.items():
        click.echo(f"{key.replace('_', ' ')}: {_as_text(value)}")


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_as_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
