"""``mlff charges``: charges of atoms for a trained model."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import SEED


@click.group()
def command() -> None:
    """Give a trained model charges of atoms."""


@command.command("fit")
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The model file to write.")
@click.option("--width", type=click.IntRange(1, 4096), default=24, show_default=True, help="Width of the hidden layer.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def fit(model: str, data: Path, output: Path, width: int, seed: int, as_json: bool) -> None:
    """Fit the charges in DATA on the features of MODEL, and write the model with them.

    MODEL is a name (mlff models list) or a path of a model file, DATA a data set with charges (mlff data info).
    Energies and forces stay the same to the bit. The errors are those on the validation structures of DATA, or on a
    tenth of its molecules if it has no split. It takes a minute. To learn charges together with forces, set
    loss.charges_weight of mlff train.

    \b
    Example:
      mlff charges fit organic-tiny charges.h5 -o organic-tiny-charges.pt
    """  # noqa: D301
    from mlff_core.atomic_write import check_place
    from mlff_core.models.registry import resolve
    from mlff_core.training.charge_fit import write_charges

    check_place(output)
    found = write_charges(resolve(model), data, output, width=width, seed=seed)
    if as_json:
        click.echo(json_text({"model": str(output), **found}))
        return
    units = {"dipole_mae": "e·Å"}
    click.echo(", ".join(f"{name} {value:.4f} {units.get(name, 'e')}" for name, value in found.items()), err=True)
    click.echo(str(output))
