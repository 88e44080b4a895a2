"""``mlff data label``: energies and forces of structures from a teacher."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.data_run import print_report, progress_line, teacher_factory, work_options


@click.command("label")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--teacher", required=True, help="Name of a teacher (`mlff teachers list`), or name or path of a model.")
@work_options
def command(
    source: Path,
    output: Path,
    teacher: str,
    pairs: tuple[str, ...],
    processes: int,
    scheduler: str | None,
    config: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Label every structure of SOURCE (.h5, .xyz, .traj …) and write the data set OUTPUT (.h5).

    Killed and started again with the same words, it goes on where it was.
    """
    from mlff_core.config import apply_overrides, from_dict, read_toml
    from mlff_core.data.label import LabelConfig, label

    settings = from_dict(LabelConfig, apply_overrides(read_toml(config) if config else {}, overrides))
    with progress_line("label") as show:
        report = label(
            source,
            output,
            teacher_factory(teacher, pairs),
            settings,
            processes=processes,
            scheduler=scheduler,
            on_progress=show,
        )
    print_report(report, as_json)
