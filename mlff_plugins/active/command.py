"""``mlff distill``: improving students by active learning."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group()
def command() -> None:
    """Improve students by active learning.

    \b
    Example:
      mlff distill active active.toml
    """  # noqa: D301


@command.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting, such as rounds=3.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def active(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Label structures that a committee of students is unsure of, and train again.

    In each round the students run molecular dynamics, the teacher labels frames with a large uncertainty, and the
    students are trained again. A control does the same with as many random frames. The table gives the errors of each
    round on a fixed test set. If a run is killed, give the same command again: it continues.

    \b
    Example:
      mlff distill active active.toml --set rounds=3
    """  # noqa: D301
    from dataclasses import asdict
    from functools import partial

    from mlff_core.cli.data_run import load_teacher
    from mlff_core.cli.denormals import denormals_flushed
    from mlff_core.config import load_config
    from mlff_core.training.progress import TerminalReporter
    from mlff_plugins.active.rounds import run_active
    from mlff_plugins.active.settings import ActiveConfig

    settings = load_config(ActiveConfig, config, overrides)
    with denormals_flushed():
        rounds = run_active(
            settings,
            partial(load_teacher, settings.teacher, settings.teacher_options),
            reporter=TerminalReporter,
            on_message=lambda text: click.echo(text, err=True),
        )
    if as_json:
        click.echo(json.dumps([asdict(one) for one in rounds], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("round", "frames"):
        table.add_column(heading)
    for heading in ("added", "trained on", "force MAE eV/Å", "force RMSE eV/Å", "energy MAE meV/atom", "90 % holds"):
        table.add_column(heading, justify="right")
    for one in rounds:
        table.add_row(
            str(one.number),
            one.arm if one.number else "–",
            str(one.n_added),
            str(one.n_train),
            f"{one.force_mae:.4f}",
            f"{one.force_rmse:.4f}",
            f"{one.energy_mae_mev_per_atom:.2f}",
            f"{100 * one.coverage:.1f} %",
        )
    Console(width=120).print(table)
