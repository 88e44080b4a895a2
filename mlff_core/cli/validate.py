"""``mlff validate``: judge a model on a data set."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import device_option, report_option, split_option

FEW = 20
"""Molecules below which errors say little about other molecules."""


@click.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@split_option
@click.option("--physics", "with_physics", is_flag=True, help="Also run the physics checks (minutes).")
@report_option("report.html, forces.png and metrics.json")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(
    model: str, data: Path, split: str | None, with_physics: bool, out: Path | None, device: str, as_json: bool
) -> None:
    """Measure the errors of a model on a data set.

    MODEL is a name or a file, DATA a labelled HDF5 data set.

    \b
    Example:
      mlff validate run/model.pt data.h5 --split test --out report
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.atomic_write import make_folder
    from mlff_core.cli.judging import judged, physics, write_report
    from mlff_core.cli.judging_tables import evaluation_tables, physics_table
    from mlff_core.data.hdf5 import Dataset
    from mlff_core.judging.report.plots import require_plots

    if out is not None:
        require_plots()  # an error here comes before minutes of work
    with Dataset(data) as dataset:
        potential = load(model, device=device, guard="off")
        if out is not None:
            make_folder(out)
        evaluation = judged(potential, dataset, split)
        checks = physics(model, potential, dataset, split, device) if with_physics else None
        found = evaluation.to_json()
        if checks is not None:
            found["physics"] = checks.to_json()
        if out is not None:
            write_report(out, [(potential, evaluation, checks)], dataset, found)
    if as_json:
        click.echo(json_text(found, indent=2, with_nulls=True))
        return
    evaluation_tables(evaluation)
    if (n := found["n_molecules"]) < FEW:
        click.echo(
            f"{n} molecule{' is' if n == 1 else 's are'} few: errors on others may be very different, and intervals "
            f"mean little below {FEW}",
            err=True,
        )
    if checks is not None:
        physics_table(checks)
