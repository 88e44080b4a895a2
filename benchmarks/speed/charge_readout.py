"""Cost of charges: steps with the CPU kernel with charges asked for, without, and of a student that has none.

    python -m benchmarks charge_readout [--presets original,tiny,ultra-tiny] [--seconds 10] [--json FILE]

Turns of a tenth of a second alternate, on one thread; processor time is measured, with the neighbour search. A ratio is
the median over rounds of the time with a readout over that without one. The goal is 1.03 where charges are asked for,
and 1 where they are not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from benchmarks.command import parser, use_threads, write
from benchmarks.speed.systems import SYSTEMS, random_student
from mlff_core.model.charges import ChargeReadout
from mlff_core.model.presets import preset
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch

TURN_S = 0.1
STRUCTURES = 4
PLAIN = ("energy", "forces")


def turn(potential: VerletPotential, path: Sequence[AtomicBatch], want: Sequence[str]) -> float:
    """Return the processor time of a step, ms, over a turn."""
    start, steps = time.process_time(), 0
    while time.process_time() - start < TURN_S:
        for moved in path:
            potential.predict(moved, want=want)
        steps += len(path)
    return 1e3 * (time.process_time() - start) / steps


def main() -> None:
    """Measure every preset and system."""
    line = parser(__doc__, "charge_readout.json")
    line.add_argument("--presets", default="original,tiny,ultra-tiny")
    line.add_argument("--seconds", type=float, default=10.0, help="for each preset and system")
    asked = line.parse_args()
    use_threads(1)
    rows = []
    for name in asked.presets.split(","):
        for system, make in SYSTEMS.items():
            batch = make()
            without = random_student(preset(name), "cpu")
            other = random_student(preset(name), "cpu")
            other.model.charges = ChargeReadout(other.model.n_features).to(other.model.scale).requires_grad_(False)
            charged = StudentPotential(other.model, other.card)
            noise = torch.Generator().manual_seed(0)
            path = [
                batch.with_positions(batch.positions + 0.01 * torch.randn(batch.positions.shape, generator=noise))
                for _ in range(STRUCTURES)
            ]
            cases = {
                "none": (VerletPotential(without), PLAIN),
                "not asked for": (VerletPotential(charged), PLAIN),
                "asked for": (VerletPotential(charged), (*PLAIN, "charges")),
            }
            times: dict[str, list[float]] = {case: [] for case in cases}
            end = time.monotonic() + asked.seconds
            while time.monotonic() < end or len(times["none"]) < 5:
                for case, (potential, want) in cases.items():
                    times[case].append(turn(potential, path, want))
            row = {"preset": name, "system": system, "ms": statistics.median(times["none"])}
            for case in ("not asked for", "asked for"):
                pairs = zip(times[case], times["none"], strict=True)
                row[f"ratio, charges {case}"] = statistics.median(one / two for one, two in pairs)
            rows.append(row)
            print(
                f"{name:11s} {system:14s} {row['ms']:8.3f} ms, with a readout "
                f"{row['ratio, charges not asked for']:.3f}, charges asked for {row['ratio, charges asked for']:.3f}",
                flush=True,
            )
    write(asked.out, {"rows": rows})


if __name__ == "__main__":
    main()
