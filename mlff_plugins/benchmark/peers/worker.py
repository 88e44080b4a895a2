"""The program that runs in a peer's process: it prepares the peer and times its steps when asked.

    PYTHON worker.py SCRIPT SYSTEMS.npz [ARGUMENT …]

A line of JSON comes on stdin, a line of JSON goes out on stdout: ``{"do": "describe"}``, ``{"do": "time", "system": …,
"n_steps": …}``, ``{"do": "evaluate", "system": …, "frame": …}``, ``{"do": "peak_memory"}``. A failure is answered with
``{"error": …}``. It runs in environments without this package, so it imports the standard library and NumPy only.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Step = Callable[[Array], tuple[Array, Array]]

FIELDS = ("numbers", "cells", "pbc", "system_idx", "positions")
"""Arrays of a system in the file, each under ``system/field``."""


@dataclass(frozen=True)
class System:
    """Structures at positions that change from frame to frame.

    Parameters
    ----------
    numbers
        Atomic numbers, shape (n_atoms,).
    cells
        Shape (n_systems, 3, 3), Å, rows are lattice vectors.
    pbc
        Shape (n_systems, 3), bool.
    system_idx
        The structure of each atom, shape (n_atoms,), non-decreasing.
    positions
        Shape (n_frames, n_atoms, 3), Å.
    """

    numbers: npt.NDArray[np.int64]
    cells: Array
    pbc: npt.NDArray[np.bool_]
    system_idx: npt.NDArray[np.int64]
    positions: Array


class Worker:
    """The peer of one process.

    Parameters
    ----------
    script
        Script with its functions, see :mod:`mlff_plugins.benchmark.peers`.
    systems
        File with the systems.
    arguments
        Arguments of the script.
    """

    def __init__(self, script: str, systems: str, arguments: list[str]) -> None:
        functions = runpy.run_path(script)
        self._prepare = functions["prepare"]
        self._describe = functions["describe"]
        self._file = np.load(systems)
        self._arguments = arguments
        self._steps: dict[str, tuple[System, Step]] = {}
        self._next: dict[str, int] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request."""
        kind = request["do"]
        if kind == "describe":
            return dict(self._describe(self._arguments))
        if kind == "peak_memory":
            return {"bytes": peak_memory()}
        system, step = self._step(request["system"])
        if kind == "evaluate":
            energy, forces = step(system.positions[request["frame"]])
            return {"energy": np.asarray(energy).tolist(), "forces": np.asarray(forces).tolist()}
        if kind != "time":
            raise ValueError(f"no request is called {kind!r}")
        wall, cpu = [], []
        for _ in range(request["n_steps"]):
            frame = self._next.get(request["system"], 0)
            self._next[request["system"]] = (frame + 1) % len(system.positions)
            positions = system.positions[frame].copy()
            began, busy = time.perf_counter(), time.process_time()
            _, forces = step(positions)
            cpu.append(1e3 * (time.process_time() - busy))
            wall.append(1e3 * (time.perf_counter() - began))
            if np.shape(forces) != positions.shape or not np.isfinite(forces).all():
                raise ValueError(f"forces are not finite numbers of shape {positions.shape}")
        return {"wall_ms": wall, "cpu_ms": cpu}

    def _step(self, name: str) -> tuple[System, Step]:
        if name not in self._steps:
            system = System(*(self._file[f"{name}/{field}"] for field in FIELDS))
            self._steps[name] = (system, self._prepare(system, self._arguments))
        return self._steps[name]


def peak_memory() -> int:
    """Return the peak memory of this process, bytes."""
    try:
        # getrusage would include the memory of the parent before exec.
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def serve(requests: IO[str], answers: IO[str], arguments: list[str]) -> None:
    """Answer requests until they end; the first line reports whether the peer was loaded."""
    worker = None
    try:
        worker = Worker(arguments[0], arguments[1], arguments[2:])
        answer: dict[str, Any] = {"ready": True}
    except BaseException as error:
        answer = _failure(error)
    _write(answers, answer)
    for line in requests:
        if worker is None:
            return
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            answer = _failure(error)
        _write(answers, answer)


def _failure(error: BaseException) -> dict[str, Any]:
    return {"error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"}


def _write(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    # Python puts this file's folder first on the path, where modules here would hide others of the same names.
    sys.path.pop(0)
    # Output of the peer goes to stderr; stdout is for answers only.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, channel, sys.argv[1:])
