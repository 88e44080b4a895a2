"""``mlff data generate``: geometries from molecules or structures, labelled by a teacher."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.data_run import Work, print_report, progress_line, work_options
from mlff_core.cli.options import COUNT, SEED, Number
from mlff_core.errors import InputError


@click.command("generate")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--teacher", help="Label with this teacher (`mlff teachers list`); without it only geometries are written."
)
@click.option("--seed", type=SEED, help="Random seed; the same seed gives the same structures.")
@click.option(
    "--ph", type=Number(-2, 16), help="Give the SMILES the protons that they have in water at this pH, such as 7.4."
)
@click.option("--limit", type=COUNT, help="Use the first inputs only.")
@click.option(
    "--split",
    help="Split the data set by molecule, scaffold, composition or elements, a tenth each for validation and test.",
)
@work_options
def command(
    source: Path,
    output: Path,
    teacher: str | None,
    seed: int | None,
    ph: float | None,
    limit: int | None,
    split: str | None,
    work: Work,
) -> None:
    """Generate the data set OUTPUT (.h5) from SOURCE.

    SOURCE holds SMILES (.smi, .csv), molecules (.sdf), crystals by prototype (.crystals), or structures (.cif, .xyz,
    .traj, .h5 …).

    If a run is killed, give the same command again: it continues.

    \b
    Example:
      mlff data generate molecules.smi data.h5 --teacher so3lr --split scaffold
      mlff data generate drugs.smi ions.h5 --teacher so3lr --ph 7.4
      mlff data generate metals.crystals data.h5 --teacher sevennet --config metals.toml --split composition
    """  # noqa: D301
    from mlff_core.data.generate import generate
    from mlff_core.data.recipe import GenerateConfig
    from mlff_core.data.split import WAYS, split_dataset

    if split not in (None, *WAYS):  # before hours of work, not after
        raise InputError(f"--split must be {' or '.join(WAYS)}, got {split!r}")

    given = {"seed": seed, "ph": ph}
    settings = work.settings(GenerateConfig, [f"{name}={value}" for name, value in given.items() if value is not None])
    with progress_line("generate") as show:
        report = generate(
            source,
            output,
            settings,
            teacher=None if teacher is None else work.teacher(teacher),
            limit=limit,
            processes=work.processes,
            scheduler=work.scheduler,
            on_progress=show,
        )
    parts = None if split is None else split_dataset(output, output, by=split)
    print_report(report, work.as_json, parts)
