"""Shared by all checks: command-line options, the model, and the JSON file of results."""

from __future__ import annotations

import functools
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

import mlff_core
from mlff_core.atomic_write import write_atomically
from mlff_core.models.checkpoint import file_sha256
from mlff_core.models.registry import resolve
from mlff_core.plugins import host as plugins
from mlff_core.potentials.interface import Potential

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "physics"
RUNS = ROOT / "runs" / "physics"
TEACHER = "so3lr"


@dataclass
class Job:
    """One check of one model: the model in any precision, and the folders of unfinished runs and results.

    Parameters
    ----------
    model
        A name or a file, or the name of a teacher.
    out
        Folder of the results, with a folder for each model.
    runs
        Folder of unfinished runs, from which a killed check continues. It also stores the teacher's results for the
        next student.
    teacher
        Name of the teacher, or name or file of a model, to compare with.
    quick
        Run a small size that only tests the check; its metrics have no meaning.
    """

    model: str
    out: Path
    runs: Path
    teacher: str
    quick: bool

    def __post_init__(self) -> None:
        self._started = time.process_time()
        self.sha256 = sha256(self.model)
        self.name = load(self.model, "float32").card.name
        if self.quick:
            self.out = self.runs / "quick"

    def load(self, dtype: str) -> Potential:
        """Return the model."""
        return load(self.model, dtype)

    def load_teacher(self) -> Potential:
        """Return the teacher in float64."""
        return load(self.teacher, "float64")

    @property
    def teachers_work(self) -> Path:
        """Folder of the teacher's results, kept for the next student."""
        return self.runs / f"reference-{Path(self.teacher).stem}{sha256(self.teacher)[:12]}"

    @property
    def work(self) -> Path:
        """Folder of this model's unfinished runs; runs of a file with other weights have another folder."""
        kind = "quick" if self.quick else "full"
        return self.runs / f"{self.name}-{self.sha256[:12] or 'teacher'}-{kind}"

    def size(self, full: Any, quick: Any) -> Any:
        """Return ``quick`` if the check runs with a small size, else ``full``."""
        return quick if self.quick else full

    def write(
        self, check: str, metrics: Sequence[dict[str, Any]], cpu_seconds: float | None = None, **more: Any
    ) -> Path:
        """Write ``<out>/<model>/<check>.json`` and print its metrics.

        Parameters
        ----------
        check
            Name of the check.
        metrics
            Made by :func:`metric`.
        cpu_seconds
            Processor time; by default that of this process since the start.
        more
            Other data for the page.
        """
        seconds = time.process_time() - self._started if cpu_seconds is None else cpu_seconds
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
        about = {
            "model": self.name,
            "model_sha256": self.sha256,
            "quick": self.quick,
            "cpu_minutes": round(seconds / 60, 2),
            "machine": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "mlff_hub": mlff_core.__version__,
            "commit": commit.stdout.strip(),
        }
        path = self.out / self.name / f"{check}.json"
        content = json.dumps({"check": check, "about": about, "metrics": list(metrics), **more}, indent=1)
        write_atomically(path, (content + "\n").encode())
        for row in metrics:
            goal = "" if row["goal"] is None else f" (goal: at most {row['goal']:g})"
            click.echo(f"{row['name']}: {row['value']} {row['unit']}{goal}")
        click.echo(f"wrote {path}", err=True)
        return path


def metric(name: str, value: float | None, unit: str, goal: float | None = None) -> dict[str, Any]:
    """Return one line of the table; the value passes if it is at most ``goal``, and None means no goal."""
    value = None if value is None or value != value else float(f"{value:.4g}")
    passed = None if goal is None else value is not None and value <= goal
    return {"name": name, "value": value, "unit": unit, "goal": goal, "passed": passed}


def is_teacher(name: str) -> bool:
    """Return whether a plugin offers a teacher of this name."""
    return name in {provider.name for provider in plugins.host().providers("teacher")}


def sha256(name: str) -> str:
    """Return the hash of a model's file; empty for a teacher."""
    return "" if is_teacher(name) else file_sha256(resolve(name))


def load(name: str, dtype: str) -> Potential:
    """Return a model by name or file, or a teacher by name, in this precision if it has the option."""
    if not is_teacher(name):
        return mlff_core.load(name, dtype=dtype)
    found = plugins.teacher(name)
    return found.load({"dtype": dtype} if "dtype" in found.options else None)


def say(message: str) -> None:
    """Print a message about the progress of a check on stderr."""
    click.echo(f"{time.strftime('%H:%M:%S')} {message}", err=True)


def check(name: str, *options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of this name from a function of a job (and its own ``options``)."""

    def make(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(model: str, out: Path, runs: Path, teacher: str, quick: bool, **own: Any) -> None:
            function(Job(model, out, runs, teacher, quick), **own)

        folder = click.Path(path_type=Path, file_okay=False)
        for option in (
            *reversed(options),
            click.option(
                "--quick", is_flag=True, help="Run a small size that takes seconds; results go to RUNS/quick."
            ),
            click.option("--teacher", default=TEACHER, show_default=True, help="Teacher to compare with."),
            click.option("--runs", type=folder, default=RUNS, help="Folder of unfinished runs."),
            click.option("--out", type=folder, default=RESULTS, help="Folder of the results."),
            click.argument("model"),
        ):
            run = option(run)
        return click.command(name)(run)

    return make
