"""``mlff data label``: energies and forces of structures from a teacher."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.data_run import Work, print_report, progress_line, work_options


@click.command("label")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--teacher", required=True, help="Name of a teacher (`mlff teachers list`), or name or path of a model.")
@work_options
def command(
    source: Path,
    output: Path,
    teacher: str,
    work: Work,
) -> None:
    """Label every structure of SOURCE (.h5, .xyz, .traj …) and write the data set OUTPUT (.h5).

    If a run is killed, give the same command again: it continues.

    \b
    Example:
      mlff data label frames.xyz data.h5 --teacher so3lr --processes 4
    """  # noqa: D301
    from mlff_core.data.label import LabelConfig, label

    settings = work.settings(LabelConfig)
    with progress_line("label") as show:
        report = label(
            source,
            output,
            work.teacher(teacher),
            settings,
            processes=work.processes,
            scheduler=work.scheduler,
            on_progress=show,
        )
    print_report(report, work.as_json)
