"""Steps of exported files with the CPU kernel inside, beside the kernel and files of torch's operations.

    python -m benchmarks fused_files [--presets original,tiny,ultra-tiny] [--threads 1] [--seconds 4] [--json FILE]

    python -m benchmarks fused_files --formats openmm,torchscript --systems "22 atoms"

For each preset, system and format these alternate: ``kernel``, a step of the kernel in Python; ``fused`` and
``portable``, the module of a file of the format with its operator, called as its engine calls it: energy, then the
backward pass. The openmm and gromacs modules search their own neighbours, so their kernel is a whole step with a Verlet
list; torchscript files are given edges, so theirs is the kernel alone with given edges. Times are processor time of
this process, ms, and ratios are of medians. All have the same random weights.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.command import parser, use_threads, write
from benchmarks.speed.systems import SYSTEMS, random_student
from mlff_core.export.writing import deprecation_silenced, edge_graph
from mlff_core.kernels.fused_modules import fused_graph_of
from mlff_core.model.edge_graph import graph_of
from mlff_core.model.presets import preset
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.gromacs.module import NNPotModule
from mlff_plugins.openmm.force_module import DEFAULT_SKIN, force_module

N_POSITIONS = 8
Step = Callable[[int], object]
"""Evaluates the k-th positions."""


def paths(batch: AtomicBatch) -> list[Tensor]:
    """Return positions near those of the batch, (n_atoms, 3) each, Å."""
    noise = torch.Generator().manual_seed(0)
    return [batch.positions + 0.01 * torch.randn(batch.positions.shape, generator=noise) for _ in range(N_POSITIONS)]


def kernel_steps(student: StudentPotential, batch: AtomicBatch) -> Step:
    """Return whole steps of the kernel, with its Verlet list."""
    running, at = VerletPotential(student), paths(batch)
    return lambda k: running.predict(batch.with_positions(at[k]))


def openmm_steps(student: StudentPotential, batch: AtomicBatch, fused: bool) -> Step:
    """Return calls of the module of a TorchForce."""
    periodic = bool(batch.pbc.all())
    module = force_module(student, batch.atomic_numbers.tolist(), None, periodic, DEFAULT_SKIN, fused=fused)
    at = [positions.double() / ANGSTROM_PER_NM for positions in paths(batch)]
    box = [batch.cell[0].double() / ANGSTROM_PER_NM] if periodic else []
    return lambda k: module(at[k].clone().requires_grad_(), *box).backward()


def gromacs_steps(student: StudentPotential, batch: AtomicBatch, fused: bool) -> Step:
    """Return calls of the module of NNPot."""
    with deprecation_silenced():
        module = torch.jit.script(NNPotModule(edge_graph(student).model, student.card, fused).eval())
    at = [(positions.double() / ANGSTROM_PER_NM).float() for positions in paths(batch)]
    numbers = batch.atomic_numbers.to(torch.int32)
    box = [(batch.cell[0].double() / ANGSTROM_PER_NM).float(), batch.pbc[0]] if bool(batch.pbc.all()) else []
    return lambda k: module(at[k].clone().requires_grad_(), numbers, *box).backward()


def graph_steps(student: StudentPotential, batch: AtomicBatch) -> tuple[Step, Step, Step]:
    """Return calls of the kernel, and of both graphs of a TorchScript file, with edges given."""
    moved = [batch.with_positions(positions) for positions in paths(batch)]
    edges = [find_neighbors(one, student.card.cutoff) for one in moved]
    inputs = [
        (one.atomic_numbers, edge_vectors(one, its), its.centers, its.neighbors, one.system_idx)
        for one, its in zip(moved, edges, strict=True)
    ]
    model = edge_graph(student).model
    with deprecation_silenced():
        fused, portable = torch.jit.script(fused_graph_of(model)), torch.jit.script(graph_of(model))
    want = ("energy", "forces", "stress", "atom_energies")
    kernel = student.kernel
    return (
        lambda k: kernel.evaluate(moved[k], edges[k], want),
        lambda k: fused(*inputs[k]),
        lambda k: portable(*inputs[k]),
    )


def steps_of(format_name: str, student: StudentPotential, batch: AtomicBatch) -> dict[str, Step]:
    """Return the three kinds of steps of a format."""
    if format_name == "torchscript":
        return dict(zip(("kernel", "fused", "portable"), graph_steps(student, batch), strict=True))
    steps = {"openmm": openmm_steps, "gromacs": gromacs_steps}[format_name]
    return {
        "kernel": kernel_steps(student, batch),
        "fused": steps(student, batch, True),
        "portable": steps(student, batch, False),
    }


def measure(steps: dict[str, Step], seconds: float) -> dict[str, float]:
    """Return the median processor time of each kind of step, ms, and the ratios to the kernel's."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for k in range(4):  # torch optimises a module during its first calls
            step(k)
    end, turn = time.monotonic() + seconds, 0
    while turn < 5 or time.monotonic() < end:
        for name, step in steps.items():
            # The portable file is slow, so the others get several steps per turn.
            for _ in range(1 if name == "portable" else 4):
                start = time.process_time()
                step(turn % N_POSITIONS)
                times[name].append(1e3 * (time.process_time() - start))
        turn += 1
    medians = {f"{name}_ms": statistics.median(values) for name, values in times.items()}
    ratios = {f"{name}_ratio": medians[f"{name}_ms"] / medians["kernel_ms"] for name in ("fused", "portable")}
    return {**medians, **ratios}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--presets", default="original,tiny,ultra-tiny")
    options.add_argument("--systems", default="22 atoms,49 atoms,water 504,water 2001")
    options.add_argument("--formats", default="openmm,torchscript,gromacs")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--seconds", type=float, default=4.0, help="for each preset, system and format")
    arguments = options.parse_args()
    use_threads(arguments.threads)
    rows = []
    for name in arguments.presets.split(","):
        student = random_student(preset(name), "cpu")
        for system in arguments.systems.split(","):
            batch = SYSTEMS[system]()
            for format_name in arguments.formats.split(","):
                found = measure(steps_of(format_name, student, batch), arguments.seconds)
                rows.append({"preset": name, "system": system, "format": format_name, **found})
                print(
                    f"{name:10s} {system:10s} {format_name:11s} kernel {found['kernel_ms']:8.3f} ms, fused "
                    f"{found['fused_ratio']:5.2f} times as long, portable {found['portable_ratio']:6.1f} times",
                    flush=True,
                )
                content = {"threads": arguments.threads, "load": os.getloadavg()[0], "rows": rows}
                write(arguments.out, content)


if __name__ == "__main__":
    main()
