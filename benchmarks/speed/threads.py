"""Speed-up by a second thread: whole steps with the CPU kernel on one thread and on two, run alternately.

    python -m benchmarks threads [--presets original,tiny,ultra-tiny] [--seconds 10] [--json FILE]

Each turn is a quarter of a second of steps with moving atoms, with the neighbour search. Wall time is measured, since
processor time does not decrease with threads, so nothing else may run. The ratio is the time on one thread divided by
that on two threads in the next turn, as the median over turns.
"""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.command import parser, write
from benchmarks.speed.systems import SYSTEMS, random_student
from mlff_core.model.presets import preset
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch

STRUCTURES = 4
TURN_S = 0.25


def turn(potential: VerletPotential, path: list[AtomicBatch]) -> float:
    """Return the time of a step, ms, over a turn."""
    start = time.perf_counter()
    steps = 0
    while time.perf_counter() - start < TURN_S:
        for moved in path:
            potential.predict(moved)
        steps += len(path)
    return 1e3 * (time.perf_counter() - start) / steps


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--presets", default="original,tiny,ultra-tiny")
    options.add_argument("--seconds", type=float, default=10.0, help="for each preset and system")
    arguments = options.parse_args()
    rows = []
    for name in arguments.presets.split(","):
        for system, make in SYSTEMS.items():
            batch = make()
            potential = VerletPotential(random_student(preset(name), "cpu"))
            noise = torch.Generator().manual_seed(0)
            path = [
                batch.with_positions(batch.positions + 0.01 * torch.randn(batch.positions.shape, generator=noise))
                for _ in range(STRUCTURES)
            ]
            potential.predict(batch)
            times: dict[int, list[float]] = {1: [], 2: []}
            end = time.monotonic() + arguments.seconds
            while time.monotonic() < end or len(times[1]) < 5:
                for threads, spent in times.items():
                    torch.set_num_threads(threads)
                    spent.append(turn(potential, path))
            ratio = statistics.median(one / two for one, two in zip(times[1], times[2], strict=True))
            row = {
                "preset": name,
                "system": system,
                "one_thread_ms": statistics.median(times[1]),
                "two_threads_ms": statistics.median(times[2]),
                "ratio": ratio,
            }
            rows.append(row)
            print(
                f"{name:11s} {system:14s} one thread {row['one_thread_ms']:8.3f} ms, "
                f"two {row['two_threads_ms']:8.3f} ms, ratio {ratio:.2f}",
                flush=True,
            )
    write(arguments.out, {"rows": rows})


if __name__ == "__main__":
    main()
