"""``mlff compare``: judge several models on one data set."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import device_option, report_option, split_option


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The HDF5 data set.")
@split_option
@report_option("report.html, a plot for each model and metrics.json")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    models: tuple[str, ...], data: Path, split: str | None, out: Path | None, device: str, as_json: bool
) -> None:
    """Compare the errors of several models on one data set.

    Each MODEL is a name or a file.

    \b
    Example:
      mlff compare organic-tiny organic-original --data data.h5 --split test --out report
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.atomic_write import make_folder
    from mlff_core.cli.judging import judged, write_report
    from mlff_core.cli.judging_tables import comparison_table
    from mlff_core.data.hdf5 import Dataset
    from mlff_core.judging.report.plots import require_plots

    if out is not None:
        require_plots()
    with Dataset(data) as dataset:
        # All are opened before the first is judged, so that a wrong name is an error at once.
        potentials = [load(model, device=device, guard="off") for model in models]
        if out is not None:
            make_folder(out)
        evaluations = [judged(potential, dataset, split) for potential in potentials]
        found = {"models": [evaluation.to_json() for evaluation in evaluations]}
        if out is not None:
            results = [(p, e, None) for p, e in zip(potentials, evaluations, strict=True)]
            write_report(out, results, dataset, found)
    if as_json:
        click.echo(json_text(found, indent=2, with_nulls=True))
    else:
        comparison_table(evaluations)
