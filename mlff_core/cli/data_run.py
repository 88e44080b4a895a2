"""Shared by ``mlff data generate`` and ``mlff data label``: teacher, options, progress line and report."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlff_core.cli.data_labels import labelled_with, labels_of
from mlff_core.cli.options import Whole, keyed, teacher_option
from mlff_core.errors import InputError

MODEL_OPTIONS = ("device", "dtype", "kernel")
"""Options of a model that serves as the teacher; see :func:`mlff_core.load`."""

if TYPE_CHECKING:
    from mlff_core.data.sharded_run import Progress, RunReport
    from mlff_core.potentials.interface import Potential

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """Values of the options of long runs.

    Parameters
    ----------
    pairs
        Options of the teacher, KEY=VALUE.
    processes, scheduler
        See :func:`~mlff_core.data.workers.run_batches`.
    config
        TOML file with the settings.
    overrides
        Changes to settings, KEY=VALUE.
    as_json
        Whether to print JSON.
    """

    pairs: tuple[str, ...]
    processes: int
    scheduler: str | None
    config: str | None
    overrides: tuple[str, ...]
    as_json: bool

    def settings(self, cls: type[T], changes: Sequence[str] = ()) -> T:
        """Return the settings of the file, changed by the overrides and then by ``changes``."""
        from mlff_core.config import apply_overrides, from_dict, read_toml

        plain = read_toml(self.config) if self.config else {}
        return from_dict(cls, apply_overrides(plain, [*self.overrides, *changes]))

    def teacher(self, name: str) -> Callable[[], Potential]:
        """Return a picklable function that loads a teacher by name, with the options given."""
        return partial(load_teacher, name, keyed("--teacher-option", self.pairs))


def work_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of long runs to a command, which gets them as one :class:`Work`."""

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        work = Work(**{name: given.pop(name) for name in Work.__dataclass_fields__})
        return function(**given, work=work)

    for option in reversed(
        [
            teacher_option,
            click.option(
                "--processes",
                type=Whole(1, 4096),
                default=1,
                show_default=True,
                help="Number of processes on this machine.",
            ),
            click.option("--scheduler", metavar="ADDRESS", help="Run on this Dask cluster, such as tcp://host:8786."),
            click.option("--config", type=click.Path(exists=True, dir_okay=False), help="TOML file with the settings."),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="Change a setting; may be given several times.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object."),
        ]
    ):
        command = option(command)
    return command


def load_teacher(name: str, options: dict[str, Any]) -> Potential:
    """Return a teacher, or the model of this path or name; called in every worker."""
    from mlff_core.cli.any_potential import is_teacher
    from mlff_core.models.registry import SUFFIX, registered_models
    from mlff_core.plugins import host as plugins

    is_model = (
        "/" in name
        or name.endswith(SUFFIX)
        or Path(name).is_file()
        or any(model.name == name for model in registered_models())
    )
    if is_model and not is_teacher(name):
        return load_model_as_teacher(name, options)
    teacher = plugins.teacher(name)
    teacher.ensure_installed()
    return teacher.load(options)


def load_model_as_teacher(name: str, options: dict[str, Any]) -> Potential:
    """Return a model whose card names the model itself as the teacher, not the teacher that it learned from.

    Raises
    ------
    InputError
        An option that a model does not have.
    CheckpointError
        No such file or model.
    """
    from dataclasses import replace

    from mlff_core import __version__
    from mlff_core.data.digest import file_sha256
    from mlff_core.models.opening import load
    from mlff_core.models.registry import resolve

    unknown = sorted(set(options) - set(MODEL_OPTIONS))
    if unknown:
        raise InputError(
            f"a model used as a teacher has no option {', '.join(unknown)}; it has {', '.join(MODEL_OPTIONS)}"
        )
    path = resolve(name)
    potential = load(path, **{key: str(value) for key, value in options.items()})
    card = potential.card
    parent = card.teacher.get("name")
    potential.card = replace(
        card,
        teacher={
            "name": card.name,
            "method": f"student of {parent}" if parent else "model",
            "package": "mlff-hub",
            "version": __version__,
            "sha256": file_sha256(path),
            "licence": card.licence,
            "settings": {"dtype": str(potential.dtype).removeprefix("torch.")},
        },
    )
    return potential


@contextmanager
def progress_line(what: str) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress, rate and time left on stderr if that is a terminal."""
    from rich import progress as rich_progress
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    with rich_progress.Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("batches · {task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=None, note="")
        first: list[int] = []

        def show(now: Progress) -> None:
            first.append(now.n_structures)
            elapsed = bar.tasks[task].elapsed or 0.0
            rate = (now.n_structures - first[0]) / elapsed if elapsed > 0 else 0.0
            note = f"{now.n_structures} structures, {rate:.1f}/s, {now.n_failed_inputs} failed"
            if len(first) == 1 and now.n_resumed:
                console.print(f"continuing after {now.n_resumed} finished batches")
                bar.reset(task, total=now.n_batches, completed=now.n_done)
            bar.update(task, total=now.n_batches, completed=now.n_done, note=note)

        yield show


def print_report(report: RunReport, as_json: bool, parts: Mapping[str, int] | None = None) -> None:
    """Print the result of a run, and the size of each split."""
    if as_json:
        plain = {**asdict(report), "path": str(report.path), "skipped": str(report.skipped) if report.skipped else None}
        plain["labels"] = labels_of(report.path)
        click.echo(json.dumps(plain if parts is None else {**plain, "split": parts}))
        return
    click.echo(f"{report.path}: {report.n_structures} structures from {report.n_inputs} inputs")
    click.echo(f"  {labelled_with(report.path)}")
    if report.n_resumed:
        click.echo(f"  {report.n_resumed} of {report.n_batches} batches were finished in an earlier run")
    for rule, count in report.dropped.items():
        click.echo(f"  left out, {rule}: {count}")
    click.echo(f"  inputs with failures: {report.n_failed_inputs}")
    if report.skipped is not None:
        click.echo(f"  skipped inputs and reasons: {report.skipped}")
    if parts is not None:
        click.echo("  split: " + ", ".join(f"{name} {count}" for name, count in parts.items()))
