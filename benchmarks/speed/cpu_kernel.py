"""Time of the CPU kernel and of the reference: whole steps with moving atoms, with the neighbour search.

    python -m benchmarks cpu_kernel [--presets original,tiny] [--threads 1] [--seconds 4] [--json FILE]

    python -m benchmarks cpu_kernel --intervals

The kernels alternate step by step, so that other load on the machine affects both. Times are processor time of this
process, ms: minimum and median. ``gemm`` is the time of torch's matrix product for as many multiplications as the
kernel's node blocks and messages need, a lower limit for any implementation of this network. ``--intervals`` instead
prints the error of the forces against the number of intervals of the filters' splines.
"""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import replace

import torch

from benchmarks.command import parser, use_threads, write
from benchmarks.speed.systems import SYSTEMS, random_student, water
from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import preset
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import find_neighbors


def multiplications(config: PaiNNConfig, n_atoms: int, n_edges: int) -> float:
    """Return the number of multiplications for energy and forces: node blocks, forward and backward, and messages."""
    f, n = config.hidden, config.n_layers
    node = 4 * (n - 1) + 11 * (n - 1) + 10 + 0.5
    return 2 * node * f * f * n_atoms + (63 * (n - 1) + 33) * f * n_edges


def gemm_ms(count: float) -> float:
    """Return the time of torch for this number of multiplications in products of (512, 112) with (112, 224)."""
    a, b = torch.rand(512, 112), torch.rand(112, 224)
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        for _ in range(20):
            torch.mm(a, b)
        best = min(best, time.process_time() - start)
    return 1e3 * best / (20 * 512 * 112 * 224) * count


def measure(potentials: dict[str, StudentPotential], batch: AtomicBatch, seconds: float) -> dict[str, list[float]]:
    """Return the processor time, ms, of each step of each potential; the potentials alternate."""
    running = {name: VerletPotential(potential) for name, potential in potentials.items()}
    noise = torch.Generator().manual_seed(0)
    path = [batch.positions + 0.01 * torch.randn(batch.positions.shape, generator=noise) for _ in range(8)]
    times: dict[str, list[float]] = {name: [] for name in running}
    for potential in running.values():
        potential.predict(batch)
    end = time.monotonic() + seconds
    step = 0
    while step < 5 or time.monotonic() < end:
        moved = batch.with_positions(path[step % len(path)])
        for name, potential in running.items():
            # The reference is slow, so a fast kernel gets several steps per turn.
            for _ in range(1 if name == "reference" else 4):
                start = time.process_time()
                potential.predict(moved)
                times[name].append(1e3 * (time.process_time() - start))
        step += 1
    return times


def print_intervals() -> None:
    """Print the error of the forces, relative to the largest, against the number of spline intervals."""
    batch = water(64)
    for basis in ("bessel", "gaussian"):
        config = replace(preset("original"), radial_basis=basis)
        torch.manual_seed(0)
        model = PaiNN(config).eval().requires_grad_(False)
        exact = copy.deepcopy(model).double()
        edges = find_neighbors(batch, config.cutoff)
        wide, wide_edges = batch.to(dtype=torch.float64), edges.to(dtype=torch.float64)
        truth = ReferenceKernel(exact).evaluate(wide, wide_edges, ("forces",)).forces
        for n in (256, 512, 768, 1024, 2048, 4096, 8192):
            double = CPUKernel(exact, n_intervals=n).evaluate(wide, wide_edges, ("forces",)).forces
            single_ = CPUKernel(model, n_intervals=n).evaluate(batch, edges, ("forces",)).forces
            errors = [float((forces - truth).abs().max() / truth.abs().max()) for forces in (double, single_)]
            print(f"{basis:8s} {n:5d} pieces: {errors[0]:.1e} in float64, {errors[1]:.1e} in float32", flush=True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--presets", default="original")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--seconds", type=float, default=4.0, help="for each preset and system")
    options.add_argument("--intervals", action="store_true")
    arguments = options.parse_args()
    use_threads(arguments.threads)
    if arguments.intervals:
        print_intervals()
        return
    rows = []
    for name in arguments.presets.split(","):
        config = preset(name)
        potentials = {kernel: random_student(config, kernel) for kernel in ("reference", "cpu")}
        for system, make in SYSTEMS.items():
            batch = make()
            n_edges = find_neighbors(batch, config.cutoff).n_edges
            times = measure(potentials, batch, arguments.seconds)
            truth, given = (potentials[kernel].predict(batch).forces for kernel in ("reference", "cpu"))
            row = {
                "preset": name,
                "system": system,
                "n_edges": n_edges,
                "variant": potentials["cpu"].kernel.variant,
                **{f"{kernel}_min_ms": min(values) for kernel, values in times.items()},
                **{f"{kernel}_median_ms": statistics.median(values) for kernel, values in times.items()},
                "gemm_ms": gemm_ms(multiplications(config, batch.n_atoms, n_edges)),
                "force_difference": float((truth - given).abs().max() / truth.abs().max().clamp(min=1)),
            }
            row["speedup_median"] = row["reference_median_ms"] / row["cpu_median_ms"]
            rows.append(row)
            print(
                f"{name:11s} {system:14s} reference {row['reference_min_ms']:8.2f} cpu {row['cpu_min_ms']:7.3f} ms, "
                f"ratio of medians {row['speedup_median']:5.1f}, "
                f"{row['gemm_ms'] / row['cpu_min_ms']:4.0%} of the floor, "
                f"force difference {row['force_difference']:.1e}",
                flush=True,
            )
    write(arguments.out, {"threads": arguments.threads, "rows": rows})
