"""Time and memory of a step against the number of atoms: periodic water at one density, 102 to 99,999 atoms.

    python -m benchmarks growth MODEL [--sizes 102,300,…] [--seconds 20] [--json FILE]

Each size has its own process, on one CPU thread. Every step has new positions; every fourth is far from the last
search, so that neighbours are searched, and the others use the list with a skin. Times are medians of processor time.
Memory is the peak of the process (``VmHWM``), and the memory before the structure was built. The exponents come from
linear fits of the logarithms.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.command import ROOT, parser, write

SIZES = (102, 300, 999, 3000, 9999, 30000, 99999)
STEPS_A_SEARCH = 4


def measure(model: str, n_atoms: int, seconds: float) -> dict[str, float]:
    """Return time and memory of one size; to be called in a new process."""
    import torch

    from mlff_core import load
    from mlff_core.potentials.verlet import VerletPotential
    from mlff_core.structures.reading import batch_from_atoms
    from mlff_plugins.benchmark.peers.worker import peak_memory
    from mlff_plugins.benchmark.systems import water_box

    student = load(model, device="cpu")
    # A first evaluation loads libraries, whose memory does not belong to the structure.
    student.predict(batch_from_atoms(water_box(1)))
    idle = peak_memory()
    potential = VerletPotential(student)
    batch = batch_from_atoms(water_box(n_atoms // 3))
    random = torch.Generator().manual_seed(0)
    swing = torch.empty_like(batch.positions).uniform_(-0.1, 0.1, generator=random)
    aside = torch.tensor([0.6, 0.0, 0.0])
    times: dict[bool, list[float]] = {True: [], False: []}
    k, end = 0, time.process_time() + seconds
    while k <= STEPS_A_SEARCH or time.process_time() < end:
        # A shift of all atoms makes the neighbour list outdated and changes nothing else.
        moved = batch.positions + swing * np.sin(k) + aside * ((k // STEPS_A_SEARCH) % 2)
        builds, began = potential.neighbors.n_builds, time.process_time()
        potential.predict(batch.with_positions(moved))
        times[potential.neighbors.n_builds > builds].append(1e3 * (time.process_time() - began))
        k += 1
    return {
        "n_atoms": n_atoms,
        "step_ms": statistics.median(times[False]),
        "step_min_ms": min(times[False]),
        "search_step_ms": statistics.median(times[True]),
        "n_steps": len(times[False]),
        "n_searches": len(times[True]),
        "idle_mib": idle / 2**20,
        "peak_mib": peak_memory() / 2**20,
    }


def exponent(rows: list[dict[str, float]], value: str, from_atoms: int = 0) -> float:
    """Return the exponent of the growth of a value with the number of atoms, from a linear fit of logarithms."""
    kept = [row for row in rows if row["n_atoms"] >= from_atoms]
    logs = [np.log([row[key] for row in kept]) for key in ("n_atoms", value)]
    return float(np.polyfit(*logs, 1)[0])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("model")
    options.add_argument("--sizes", default=",".join(map(str, SIZES)))
    options.add_argument("--seconds", type=float, default=20.0, help="processor time for each size, at least")
    options.add_argument("--one", type=int, help="measure this size, in this process")
    arguments = options.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.model, arguments.one, arguments.seconds)))
        return
    rows: list[dict[str, float]] = []
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for size in arguments.sizes.split(","):
        command = [sys.executable, "-m", "benchmarks", "growth", arguments.model, "--one", size]
        command += ["--seconds", str(arguments.seconds)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        row = json.loads(done.stdout)
        row["added_mib"] = row["peak_mib"] - row["idle_mib"]
        rows.append(row)
        print(
            f"{row['n_atoms']:7.0f} atoms: {row['step_ms']:9.2f} ms, with a search {row['search_step_ms']:9.2f} ms, "
            f"memory {row['peak_mib']:7.0f} MiB, {row['added_mib']:7.1f} of them for the structure",
            flush=True,
        )
        content: dict[str, Any] = {"rows": sorted(rows, key=lambda row: row["n_atoms"])}
        if len(rows) > 1:
            content["exponents"] = {value: exponent(rows, value) for value in ("step_ms", "search_step_ms")}
        if sum(row["n_atoms"] >= 999 for row in rows) > 1:
            content["memory_exponent"] = exponent(rows, "added_mib", from_atoms=999)
        # Written after every size, so that results are not lost if a large one fails.
        write(arguments.out, content)
    print({key: content.get(key) for key in ("exponents", "memory_exponent")})


if __name__ == "__main__":
    main()
