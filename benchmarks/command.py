"""Shared by all benchmarks: command line, number of threads, and the JSON file with machine and commit."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mlff_core.atomic_write import write_atomically
from mlff_core.models.registry import registered_models
from mlff_plugins.benchmark.machine import commit, machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def shipped_students() -> list[str]:
    """Return the names of the shipped students, the largest first."""
    return [model.name for model in registered_models() if model.origin == "shipped"]


def parser(description: str | None, result: str | None = None) -> argparse.ArgumentParser:
    """Return a command line with the option ``--out FILE``, also spelled ``--json FILE``.

    Parameters
    ----------
    description
        The docstring of the benchmark.
    result
        Name of the default output file in ``benchmarks/results``; None writes a file only with ``--out``.
    """
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = None if result is None else RESULTS / result
    made.add_argument("--out", "--json", dest="out", type=Path, default=default, metavar="FILE", help="a JSON file")
    return made


def use_threads(n: int, *, flush_denormals: bool = False) -> None:
    """Set the number of threads; ``flush_denormals`` avoids slow arithmetic with tiny numbers, as in ``mlff train``."""
    torch.set_num_threads(n)
    if flush_denormals:
        torch.set_flush_denormal(True)


def write(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write the results with machine and commit; without a path nothing is written.

    The file is replaced as a whole, so a benchmark can write after each row.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"machine": machine(torch.device("cpu")), "commit": commit()}
    write_atomically(path, (json.dumps({**about, **content}, indent=1, ensure_ascii=False) + "\n").encode())
