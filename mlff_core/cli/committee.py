"""``mlff committee``: several models as one that knows how sure it is."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.options import device_option


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="The committee's file, .toml.")
@click.option("--calibrate", "data", type=click.Path(path_type=Path), help="Fit the uncertainty to this data set.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="Part of it to fit to; no member may have been trained on it.",
)
@device_option
def command(models: tuple[str, ...], output: Path, data: Path | None, split: str | None, device: str) -> None:
    """Make a committee of models, its uncertainty calibrated.

    MODELs are names or files of the same elements, trained apart (other seeds, or other parts of the data). The file
    written is a model for every command and engine: it predicts the members' mean and their calibrated spread.
    """
    from mlff_core import load
    from mlff_core.cli.judging import progress_line
    from mlff_core.data.hdf5 import Dataset
    from mlff_core.judging.calibrate import calibrate
    from mlff_core.models.committee import write_committee
    from mlff_core.potentials.ensemble import Ensemble

    ensemble = Ensemble([load(model, device=device, guard="off") for model in models])
    if data is None:
        write_committee(output, list(models))
        click.echo(f"{output}: {len(models)} members, not calibrated", err=True)
        return
    with Dataset(data) as dataset, progress_line() as show:
        ensemble = calibrate(ensemble, dataset, split, progress=lambda done, total: show("calibrating", done, total))
    found = ensemble.calibration
    write_committee(output, list(models), found, data=data.name, split=split or "all")
    click.echo(
        f"{output}: {len(models)} members, their spread scaled by {found.energy:.2f} for energies and by "
        f"{found.forces:.2f} for forces",
        err=True,
    )
