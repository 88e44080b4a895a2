"""``mlff data generate``: geometries from molecules or structures, with a teacher's labels."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.data_run import Work, print_report, progress_line, work_options
from mlff_core.cli.options import COUNT, SEED
from mlff_core.errors import InputError


@click.command("generate")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--teacher", help="Label with this teacher; `mlff teachers list` shows them. Geometries alone without.")
@click.option("--seed", type=SEED, help="Seed; the same gives the same structures.")
@click.option("--limit", type=COUNT, help="Use the first inputs only.")
@click.option("--split", help="Divide the set too: molecule or scaffold; a tenth to validate on, a tenth to test on.")
@work_options
def command(
    source: Path,
    output: Path,
    teacher: str | None,
    seed: int | None,
    limit: int | None,
    split: str | None,
    work: Work,
) -> None:
    """Make the data set OUTPUT (.h5) from SOURCE: SMILES (.smi, .csv), .sdf, or structures (.xyz, .traj, .h5 …).

    Killed and started again with the same words, it goes on where it was.
    """
    from mlff_core.data.generate import generate
    from mlff_core.data.recipe import GenerateConfig
    from mlff_core.data.split import WAYS, split_dataset

    if split not in (None, *WAYS):  # before hours of work, not after
        raise InputError(f"--split must be {' or '.join(WAYS)}, got {split!r}")

    settings = work.settings(GenerateConfig, [] if seed is None else [f"seed={seed}"])
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
