"""Time of the CPU kernel for a metal with many neighbours, beside a teacher of crystals.

    OMP_NUM_THREADS=1 python -m benchmarks crystals [--teacher sevennet] [--cutoffs 5,6,7,7.7] [--seconds 10]

108 atoms of copper, moved by 0.03 Å at each step: energy, forces and stress, with the neighbour search. Students of
each preset with random weights have each cutoff in turn. Student and teacher alternate, so that other load on the
machine affects both. Times are processor time of this process, ms: medians.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from ase.build import bulk

from benchmarks.command import parser, use_threads, write
from benchmarks.speed.systems import random_student
from mlff_core.model.presets import preset
from mlff_core.plugins.host import teacher
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import find_neighbors
from mlff_core.structures.reading import batch_from_atoms

ELEMENTS = (13, 28, 29, 46, 47, 78, 79)
WANT = ("energy", "forces", "stress")


def moved(batch: AtomicBatch) -> Iterator[AtomicBatch]:
    """Yield the crystal with other displacements each time."""
    noise = torch.Generator().manual_seed(0)
    while True:
        yield batch.with_positions(batch.positions + 0.03 * torch.randn(batch.positions.shape, generator=noise))


def spent(potential: Potential, frames: Iterator[AtomicBatch], n: int) -> list[float]:
    """Return the processor time of n steps, ms each."""
    found = []
    for _ in range(n):
        frame = next(frames)
        start = time.process_time()
        potential.predict(frame, want=WANT)
        found.append(1e3 * (time.process_time() - start))
    return found


def main() -> None:
    options = parser(__doc__, "crystals.json")
    options.add_argument("--teacher", default="sevennet")
    options.add_argument("--presets", default="ultra-tiny,tiny,original")
    options.add_argument("--cutoffs", default="5,6,7,7.7", help="Å")
    options.add_argument("--seconds", type=float, default=10.0, help="for each preset and cutoff")
    arguments = options.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("set OMP_NUM_THREADS=1 first: the teacher reads it when it is imported")
    use_threads(1)
    batch = batch_from_atoms(bulk("Cu", "fcc", 3.61, cubic=True).repeat(3))
    slow = teacher(arguments.teacher).load({"device": "cpu"})
    frames = moved(batch)
    rows = []
    for name in arguments.presets.split(","):
        for cutoff in map(float, arguments.cutoffs.split(",")):
            config = replace(preset(name), elements=ELEMENTS, cutoff=cutoff, radial_basis="gaussian")
            fast = VerletPotential(random_student(config, "cpu"))
            spent(slow, frames, 1)
            spent(fast, frames, 2)
            times: dict[str, list[float]] = {"student": [], "teacher": []}
            end = time.monotonic() + arguments.seconds
            while len(times["teacher"]) < 3 or time.monotonic() < end:
                times["student"] += spent(fast, frames, 8)
                times["teacher"] += spent(slow, frames, 1)
            medians = {who: statistics.median(values) / batch.n_atoms for who, values in times.items()}
            row = {
                "preset": name,
                "cutoff": cutoff,
                "neighbours": find_neighbors(batch, cutoff).n_edges / batch.n_atoms,
                "student_ms_per_atom": medians["student"],
                "teacher_ms_per_atom": medians["teacher"],
                "ratio": medians["teacher"] / medians["student"],
            }
            rows.append(row)
            times_of_atom = {who: f"{1e3 * value:.1f} µs" for who, value in medians.items()}
            print(
                f"{name:11s} {cutoff:4.1f} Å {row['neighbours']:5.0f} neighbours: an atom takes {times_of_atom}, "
                f"ratio {row['ratio']:.0f}",
                flush=True,
            )
            write(arguments.out, {"teacher": arguments.teacher, "n_atoms": batch.n_atoms, "rows": rows})


if __name__ == "__main__":
    main()
