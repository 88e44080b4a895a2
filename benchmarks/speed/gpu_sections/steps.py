"""Times of steps: 50 atoms, 100,000 atoms, and different tilings of the work."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.speed.gpu_sections.bench import MODES, Bench, memory
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.kernels.triton.arrays import Tiling
from mlff_core.kernels.triton.kernel import TritonKernel
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import find_neighbors


def moving(bench: Bench, batch: AtomicBatch, repeats: int, *, fast: bool, **options: Any) -> dict[str, Any]:
    """Return the time of whole steps with moving atoms, neighbours included, and atoms a second."""
    at = bench.on(batch)
    stepper = bench.stepper(batch, fast=fast, **options)
    path = [at.positions + 0.01 * torch.randn_like(at.positions) for _ in range(4)]
    count = iter(range(10**9))
    times = bench.wall_ms(lambda: stepper.step(path[next(count) % 4]), repeats)
    return {
        **times,
        "n_atoms": at.n_atoms,
        "capacity": stepper.capacity,
        "searches": stepper.n_searches,
        "search": bench.wall_ms(stepper._rebuild, 5) if not stepper.searches_every_step else "in each step",
        "atoms_per_s": 1e3 * at.n_atoms / times["median_ms"],
        **memory(bench),
    }


def latency(bench: Bench, result: dict[str, Any]) -> None:
    """50 atoms: whole steps through the stepper, through a potential, and through a kernel that is given its edges."""
    molecule = bench.molecule(50)
    for mode in MODES[: 1 if bench.dry else None]:
        result[mode] = moving(bench, molecule, 300, fast=mode == "fast")
        result[f"{mode}, skin of 1 Å"] = moving(bench, molecule, 300, fast=mode == "fast", skin=1.0)
    batch, running, count = bench.on(molecule), VerletPotential(bench.student(fast=False)), iter(range(10**9))
    path = [batch.with_positions(batch.positions + 0.01 * torch.randn_like(batch.positions)) for _ in range(4)]
    result["potential"] = bench.wall_ms(lambda: running.predict(path[next(count) % 4]), 200)
    edges, kernel = find_neighbors(batch, bench.config.cutoff + 1), TritonKernel(bench.model())
    result["kernel"] = bench.wall_ms(lambda: kernel.evaluate(batch, edges, ("forces",)), 200)
    reference = ReferenceKernel(bench.model())
    result["reference"] = bench.wall_ms(lambda: reference.evaluate(batch, edges, ("forces",)), 50)


def throughput(bench: Bench, result: dict[str, Any]) -> None:
    """100,000 atoms of periodic water with a skin, by mode."""
    water = bench.water(33_333)
    for mode in MODES:
        result[mode] = moving(bench, water, 20, fast=mode == "fast")


def tilings(bench: Bench, result: dict[str, Any]) -> None:
    """Measure times of steps of the molecule and of the water by tiling, to choose the default."""
    molecule, water = bench.molecule(50), bench.water(33_333)
    small = [
        Tiling(*shape) for shape in ((16, 16, 1, 2), (16, 32, 1, 4), (32, 32, 1, 4), (16, 64, 1, 4), (32, 128, 1, 8))
    ]
    large = [
        Tiling(*shape) for shape in ((16, 128, 1, 8), (16, 128, 4, 4), (32, 128, 4, 8), (16, 64, 4, 4), (32, 64, 8, 4))
    ]
    for mode in MODES:
        for name, batch, repeats, shapes in (("molecule", molecule, 100, small), ("water", water, 6, large)):
            for tiling in shapes[: 1 if bench.dry else None]:
                try:
                    row = moving(bench, batch, repeats, fast=mode == "fast", tiling=tiling)
                except (RuntimeError, ValueError) as error:  # one that does not fit into the GPU's shared memory
                    row = {"error": repr(error)}
                result[f"{name}, {mode}, {tiling}"] = row
