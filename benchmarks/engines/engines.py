"""Overhead of engines: a step through each engine, compared with the model alone and the engine with a zero force.

    python -m benchmarks engines MODEL [--systems 49,504] [--engines ase,…] [--seconds 20] [--json FILE]

    python -m benchmarks engines MODEL --profile --engines ase --systems 49

For each engine and system three kinds of steps run alternately: molecular dynamics with the model; direct calls of the
same form of the model on frames of such a run; and steps of the engine with a zero force, set by the engine's own means
without this package. ``ratio`` is the first time divided by the sum of the other two, as the median over turns.
Times are processor time of this process, ms per step on one thread. Those of i-PI, which is a process of its own, are
wall times, so nothing else may run then. ``--profile`` prints a profile of the steps of each engine.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.command import parser, use_threads, write
from benchmarks.engines.through_ase import ase
from benchmarks.engines.through_ipi import BEADS, ipi
from benchmarks.engines.through_lammps import lammps
from benchmarks.engines.through_onnx import onnx
from benchmarks.engines.through_openmm import openmm_pythonforce, openmm_torchforce
from benchmarks.engines.trio import Trio
from mlff_core.dynamics.state import thermal_velocities
from mlff_plugins.benchmark.systems import build

TURN_S = 0.1
ENGINES = {
    "ase": ase,
    "openmm-pythonforce": openmm_pythonforce,
    "openmm-torchforce": openmm_torchforce,
    f"ipi-{BEADS}-beads": ipi,
    "lammps": lammps,
    "onnx": onnx,
}


def measure(trio: Trio, seconds: float) -> dict[str, float]:
    """Return the medians of the three times, ms per step, and the median of their ratio."""
    times: dict[str, list[float]] = {"step": [], "zero": [], "direct": []}
    counts = {}
    for what in times:
        trio.spent(what, 3)  # the first calls load, tune or compile
        counts[what] = min(1000, max(2, round(TURN_S / (trio.spent(what, 5) / 5))))
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(times["step"]) < 3:
        for what, spent in times.items():
            spent.append(1e3 * trio.spent(what, counts[what]) / counts[what])
    ratios = [step / (zero + direct) for step, zero, direct in zip(*times.values(), strict=True)]
    medians = {f"{what}_ms": statistics.median(spent) for what, spent in times.items()}
    return {**medians, "ratio": statistics.median(ratios), "n_turns": len(ratios)}


def profile(trio: Trio) -> None:
    """Print a profile of the steps."""
    trio.step(20)
    recorded = cProfile.Profile()
    recorded.runcall(trio.step, 100)
    pstats.Stats(recorded).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Print a line for each engine and system, and write the results as JSON if requested."""
    options = parser(__doc__)
    options.add_argument("model")
    options.add_argument("--systems", default="49,504")
    options.add_argument("--engines", default=",".join(ENGINES))
    options.add_argument("--seconds", type=float, default=20.0, help="for each engine and system")
    options.add_argument("--profile", action="store_true")
    arguments = options.parse_args()
    use_threads(1)
    rows = []
    for system in arguments.systems.split(","):
        (frame,) = build(system)
        masses = frame.get_masses()[:, None]
        frame.set_velocities(thermal_velocities(masses, 300.0, np.random.default_rng(0)))
        for engine in arguments.engines.split(","):
            with ENGINES[engine](frame, arguments.model) as trio:
                if arguments.profile:
                    profile(trio)
                    continue
                found = measure(trio, arguments.seconds)
            rows.append({"engine": engine, "system": system, **found})
            print(
                f"{system:>5s} {engine:18s} step {found['step_ms']:8.3f} ms; alone {found['direct_ms']:8.3f} ms, "
                f"engine {found['zero_ms']:7.3f} ms; ratio {found['ratio']:.2f}",
                flush=True,
            )
            content = {"load": os.getloadavg()[0], "model": Path(arguments.model).name, "rows": rows}
            write(arguments.out, content)
