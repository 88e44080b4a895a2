"""``mlff demo``: all steps from a teacher to a student, for one small molecule or the crystals of one element."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlff_core.judging.crystals.experiment import ELEMENTS

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
@click.option(
    "--material",
    type=click.Choice(tuple(ELEMENTS)),
    help="Crystals of this element instead of ethanol, with the teacher SevenNet-0.",
)
@click.pass_context
def command(context: click.Context, out: Path, material: str | None) -> None:
    """Label, train and judge a small student, from start to end: of ethanol, or of the crystals of an element.

    \b
    Examples:
      mlff demo
      mlff demo --material Cu
    """  # noqa: D301
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mlff_core.training.progress import TerminalReporter
    from mlff_plugins.demo import material_table
    from mlff_plugins.demo.material import run_material
    from mlff_plugins.demo.pipeline import GOOD_R2, run_demo

    words = Console(stderr=True, highlight=False)
    unit = "frames" if material is None else "crystals"
    columns = (
        TextColumn(f"  {unit}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=words, transient=True, disable=not words.is_terminal) as bar:
        task = bar.add_task(unit, total=None)

        def sampled(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if done >= total:
                bar.stop()

        def say(text: str) -> None:
            words.print(text, markup=False)

        # A second thread does not help for few atoms, and costs much on busy cores.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            if material is None:
                result = run_demo(out, say=say, sampled=sampled, reporter=TerminalReporter())
                table, text, good = _table(result), _next_steps(result), result.is_good
            else:
                of = run_material(out, material, say=say, sampled=sampled, reporter=TerminalReporter())
                table, text, good = material_table.table(of), material_table.next_steps(of), of.is_good
        finally:
            torch.set_num_threads(threads)
    Console().print(table)
    click.echo(text)
    if not good:
        click.echo(f"Error: R² of the force components on unseen {unit} is below {GOOD_R2}", err=True)
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
