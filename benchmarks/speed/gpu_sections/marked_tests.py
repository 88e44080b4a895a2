"""The tests that need a GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.speed.gpu_sections.bench import Bench, OutOfTimeError, check


def tests(bench: Bench, result: dict[str, Any]) -> None:
    """The tests marked to need a GPU, in a process of their own."""
    root = Path(__file__).parents[3]
    marked = sorted(
        str(path.relative_to(root)) for path in (root / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text()
    )
    # Warnings of other versions of torch or NumPy must not fail the tests.
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider", *marked]
    if not bench.dry and importlib.util.find_spec("xdist") is not None:
        command += ["-n", "8"]  # most of their time is compiling kernels on the host
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=False,
            timeout=max(1.0, bench.left_s()), env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        result["output"] = (said if isinstance(said, str) else said.decode())[-4000:]
        raise OutOfTimeError from error
    result["output"] = done.stdout[-4000:] + done.stderr[-1000:]
    # Without a GPU all are skipped, which pytest calls 5.
    check(result, "exit status", float(0 if bench.dry and done.returncode == 5 else done.returncode), 0.0)
