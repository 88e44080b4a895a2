"""``mlff committee``: several models combined into one that estimates its uncertainty."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.options import device_option


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Committee file to write (.toml).")
@click.option(
    "--calibrate", "data", type=click.Path(path_type=Path), help="Calibrate the uncertainty on this data set."
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    help="Split of the data set to calibrate on; no member may have been trained on it.",
)
@device_option
def command(models: tuple[str, ...], output: Path, data: Path | None, split: str | None, device: str) -> None:
    """Combine models into a committee that estimates its uncertainty.

    MODELs are names or files of models for the same elements, trained with different seeds or on different parts of
    the data. Every command and engine accepts the committee file as a model. It predicts the mean of the members and
    their calibrated spread.

    \b
    Example:
      mlff committee seed1.pt seed2.pt seed3.pt -o committee.toml --calibrate data.h5 --split validation
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.cli.judging import progress_line
    from mlff_core.data.hdf5 import Dataset
    from mlff_core.judging.calibrate import calibrate
    from mlff_core.models.committee import check_members, write_committee
    from mlff_core.models.registry import resolve
    from mlff_core.potentials.ensemble import Ensemble

    check_members([resolve(model) for model in models])
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
