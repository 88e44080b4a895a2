"""``mlff demo``: all steps from a teacher to MD with a student, for one small molecule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from mlff_plugins.demo.pipeline import DemoResult


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("mlff-demo"),
    show_default=True,
    help="New folder for the files of the demo.",
)
@click.pass_context
def command(context: click.Context, out: Path) -> None:
    """Label, train, validate and run a small student of ethanol, from start to end."""
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mlff_core.training.progress import TerminalReporter
    from mlff_plugins.demo.pipeline import GOOD_R2, run_demo

    words = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("  frames"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=words, transient=True, disable=not words.is_terminal) as bar:
        task = bar.add_task("frames", total=None)

        def sampled(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if done >= total:
                bar.stop()

        # A second thread does not help for nine atoms, and costs much on busy cores.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            result = run_demo(
                out, say=lambda text: words.print(text, markup=False), sampled=sampled, reporter=TerminalReporter()
            )
        finally:
            torch.set_num_threads(threads)
    Console().print(_table(result))
    click.echo(_next_steps(result))
    if not result.is_good:
        click.echo(f"Error: R² of the force components on unseen frames is below {GOOD_R2}", err=True)
        context.exit(1)


def _table(result: DemoResult) -> Table:
    """Return the table that compares teacher and student."""
    from rich.table import Table

    metrics = result.evaluation.metrics
    table = Table(
        title=f"ethanol, {result.n_test} frames of trajectories that were not used in training", title_justify="left"
    )
    table.add_column("")
    table.add_column("teacher so3lr", justify="right")
    table.add_column("student ultra-tiny", justify="right")
    rows = [
        ("parameters", "529,852", f"{result.evaluation.card.n_parameters:,}"),
        ("force MAE, eV/Å", f"(spread {result.force_spread:.3f})", f"{metrics['force_mae']:.3f}"),
        ("force R², by component", "1", f"{metrics['force_r2']:.4f}"),
        ("energy MAE, meV/atom", "0", f"{metrics['energy_mae_mev_per_atom']:.2f}"),
        ("ms per MD step", f"{result.teacher_ms_per_step:.1f}", f"{result.student_ms_per_step:.2f}"),
        ("NVE 1 ps: drift of the energy, meV", "", f"{1e3 * result.md.conserved_drift:+.2f}"),
        ("NVE 1 ps: mean temperature, K", "", f"{result.md.temperature_kelvin:.0f}"),
        (
            "seconds spent",
            f"{result.seconds_label:.0f} (labels)",
            f"{result.seconds_train:.0f} (training on {result.n_train} frames)",
        ),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _next_steps(result: DemoResult) -> str:
    folder = result.folder
    return f"""
Files in {folder}:
  model.pt             the student, with its card
  ethanol-so3lr.h5     frames and labels
  validation.json      all metrics
  md/                  trajectory and log
  training/            settings, log, state

Try next:
  mlff models show {folder}/model.pt
  mlff data info {folder}/ethanol-so3lr.h5
  mlff validate {folder}/model.pt {folder}/ethanol-so3lr.h5 --split test
  mlff md {folder}/model.pt {folder}/md/trajectory.extxyz --ensemble nvt --temperature-kelvin 400 --time-ps 1 -o nvt
  mlff plugins list    which engines are ready here"""
