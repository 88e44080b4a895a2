"""Shared by ``mlff validate`` and ``mlff compare``: running the checks with a progress line, writing the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mlff_core.cli.json_text import json_text
from mlff_core.errors import MlffError

if TYPE_CHECKING:
    from mlff_core.data.hdf5 import Dataset
    from mlff_core.judging.outcome import Evaluation
    from mlff_core.judging.physics.result import PhysicsReport
    from mlff_core.potentials.interface import Potential


@contextmanager
def progress_line() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function (stage, done, total) that shows a progress line on stderr if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        last = ""

        def show(stage: str, done: int, total: int) -> None:
            nonlocal last
            if stage != last:
                progress.reset(task, description=stage, total=total)
                last = stage
            progress.update(task, completed=done, total=total)

        yield show


def judged(potential: Potential, dataset: Dataset, split: str | None) -> Evaluation:
    """Return the evaluation of one model."""
    from mlff_core.judging.evaluate import evaluate

    with progress_line() as show:
        stage = f"judging {potential.card.name}"
        return evaluate(potential, dataset, split, progress=lambda done, total: show(stage, done, total))


def physics(model: str, potential: Potential, dataset: Dataset, split: str | None, device: str) -> PhysicsReport:
    """Return the physics checks of one model, in both precisions, against the data set's teacher if it is installed."""
    from mlff_core import load
    from mlff_core.judging.physics.molecules import choose_molecules
    from mlff_core.judging.physics.suite import run_physics

    molecules = choose_molecules(dataset, split, potential)
    both = {"float64": load(model, device=device, dtype="float64", guard="off"), "float32": potential}
    with progress_line() as show:
        return run_physics(both, molecules, reference=_teacher(dataset), progress=show)


def _teacher(dataset: Dataset) -> Potential | None:
    from mlff_core.plugins.host import teacher

    name = dataset.teacher.get("name")
    if not name:
        return None
    try:
        return teacher(name).load()
    except MlffError as error:
        click.echo(f"no comparison with the teacher {name}: {error}", err=True)
        return None


def write_report(
    folder: Path,
    results: Sequence[tuple[Potential, Evaluation, PhysicsReport | None]],
    dataset: Dataset,
    found: dict[str, Any],
) -> None:
    """Write ``report.html``, a six-panel plot for each model and ``metrics.json`` into a folder."""
    from mlff_core.atomic_write import write_atomically
    from mlff_core.judging.report.page import ReportedModel, write_page
    from mlff_core.judging.report.worst import worst_structures

    pages = [
        ReportedModel(evaluation, worst_structures(evaluation, dataset, potential), checks)
        for potential, evaluation, checks in results
    ]
    for k, one in enumerate(pages):
        name = "forces.png" if len(pages) == 1 else f"forces-{k + 1}-{_file_name(one.evaluation.card.name)}.png"
        write_atomically(folder / name, one.force_png)
    text = json_text(found, indent=2, with_nulls=True) + "\n"
    write_atomically(folder / "metrics.json", text.encode())
    write_page(folder / "report.html", pages)
    click.echo(f"report in {folder / 'report.html'}", err=True)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name)
