"""``mlff data generate``: geometries from molecules or structures, with a teacher's labels."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.data_run import print_report, progress_line, teacher_factory, work_options
from mlff_core.errors import InputError


@click.command("generate")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--teacher", help="Label with this teacher; `mlff teachers list` shows them. Geometries alone without.")
@click.option("--seed", type=int, help="Seed; the same gives the same structures.")
@click.option("--limit", type=int, help="Use the first inputs only.")
@click.option("--split", help="Divide the set too: molecule or scaffold; a tenth to validate on, a tenth to test on.")
@work_options
def command(
    source: Path,
    output: Path,
    teacher: str | None,
    seed: int | None,
    limit: int | None,
    split: str | None,
    pairs: tuple[str, ...],
    processes: int,
    scheduler: str | None,
    config: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make the data set OUTPUT (.h5) from SOURCE: SMILES (.smi, .csv), .sdf, or structures (.xyz, .traj, .h5 …).

    Killed and started again with the same words, it goes on where it was.
    """
    from mlff_core.config import apply_overrides, from_dict, read_toml
    from mlff_core.data.generate import generate
    from mlff_core.data.recipe import GenerateConfig
    from mlff_core.data.split import WAYS, split_dataset

    if split not in (None, *WAYS):  # before hours of work, not after
        raise InputError(f"--split must be {' or '.join(WAYS)}, got {split!r}")

    changes = [*overrides, *([f"seed={seed}"] if seed is not None else [])]
    settings = from_dict(GenerateConfig, apply_overrides(read_toml(config) if config else {}, changes))
    with progress_line("generate") as show:
        report = generate(
            source,
            output,
            settings,
            teacher=None if teacher is None else teacher_factory(teacher, pairs),
            limit=limit,
            processes=processes,
            scheduler=scheduler,
            on_progress=show,
        )
    parts = None if split is None else split_dataset(output, output, by=split)
    print_report(report, as_json, parts)
