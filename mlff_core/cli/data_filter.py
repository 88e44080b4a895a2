"""``mlff data filter``: the structures of a data set that satisfy given conditions."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mlff_core.cli.options import POSITIVE, Whole


@click.command("filter")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--charge", type=Whole(-1000, 1000), help="Keep structures of this total charge, e.")
@click.option("--spin-multiplicity", type=Whole(1, 1000), help="Keep structures of this multiplicity, 2S + 1.")
@click.option("--elements", metavar="SYMBOLS", help="Keep structures of these elements only, such as H,C,N,O.")
@click.option("--max-force", type=POSITIVE, help="Keep structures with every force component below this, eV/Å.")
@click.option("--kind", "kinds", multiple=True, help="Keep this kind of geometry; may be given several times.")
@click.option(
    "--energy-window",
    type=POSITIVE,
    help="Keep structures at most this far above the lowest of the same composition and charge, eV.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    dataset: Path,
    output: Path,
    charge: int | None,
    spin_multiplicity: int | None,
    elements: str | None,
    max_force: float | None,
    kinds: tuple[str, ...],
    energy_window: float | None,
    as_json: bool,
) -> None:
    """Write the structures of DATASET that satisfy all given conditions to OUTPUT, with labels and splits.

    \b
    Example:
      mlff data filter data.h5 small.h5 --elements H,C,N,O --max-force 20
    """  # noqa: D301
    from dataclasses import asdict

    from mlff_core.cli.data_labels import labelled_with, labels_of
    from mlff_core.data.filter import Filter, filter_dataset

    rules = Filter(
        charge=charge,
        spin_multiplicity=spin_multiplicity,
        elements=None if elements is None else _numbers(elements),
        max_force=max_force,
        kinds=kinds or None,
        energy_window=energy_window,
    )
    made = filter_dataset(dataset, output, rules)
    if as_json:
        click.echo(json.dumps({"path": str(output), **asdict(made), "labels": labels_of(output)}))
        return
    click.echo(f"{output}: {made.n_structures} of {made.n_before} structures, {labelled_with(output)}")
    for rule, count in made.left_out.items():
        click.echo(f"  left out, {rule}: {count}")


def _numbers(text: str) -> tuple[int, ...]:
    from ase.data import atomic_numbers

    symbols = [symbol.strip() for symbol in text.replace(" ", ",").split(",") if symbol.strip()]
    unknown = [symbol for symbol in symbols if atomic_numbers.get(symbol, 0) < 1]
    if unknown or not symbols:
        raise click.BadParameter(f"wanted symbols such as H,C,N,O, got {text!r}", param_hint="--elements")
    return tuple(sorted({atomic_numbers[symbol] for symbol in symbols}))
