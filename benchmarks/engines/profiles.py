"""Time of a step by operator, without the CPU kernel: the files for OpenMM's TorchForce and for ONNX Runtime.

    python -m benchmarks profiles MODEL [--systems 49,504] [--json FILE]

One thread. TorchForce's file is the TorchScript module that OpenMM runs, with its neighbour search; the file for ONNX
Runtime gets its edges as input. Shares are fractions of the time in operators, from the profilers of torch and ONNX
Runtime; the time of a step is processor time without a profiler.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from ase import Atoms
from torch.profiler import ProfilerActivity, profile

from benchmarks.command import parser, use_threads, write
from mlff_core import load
from mlff_core.model.traced_program import INPUTS, OUTPUTS
from mlff_core.potentials.interface import Potential
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.benchmark.systems import build
from mlff_plugins.onnx import ONNXExporter
from mlff_plugins.openmm.force_module import DEFAULT_SKIN, force_module

REPEATS = 5
KINDS = {
    "products with weights": ("mm", "matmul", "gemm", "linear", "fusedmatmul"),
    "reading and summing by index": ("index", "gather", "scatter", "select", "embedding"),
    "moving and joining": (
        *("copy", "clone", "cat", "concat", "slice", "split", "narrow", "expand", "transpose", "cast", "reshape"),
        *("unsqueeze", "fill", "zero", "empty", "to", "contiguous", "pad", "stack", "repeat", "shape"),
    ),
}
"""Names of operators, or parts of them, by kind; all others are elementwise arithmetic."""

ARITHMETIC = "number by number"


def kind_of(operator: str) -> str:
    """Return the kind of an operator."""
    name = operator.rsplit("::", 1)[-1].lower().strip("_")
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), ARITHMETIC)


def least_ms(step: Callable[[], object]) -> float:
    """Return the shortest processor time of some steps, ms."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        step()
        times.append(1e3 * (time.process_time() - start))
    return min(times)


def shares(microseconds: Counter[str]) -> dict[str, float]:
    """Return the fraction of time of each kind of operator."""
    total = sum(microseconds.values())
    return {kind: microseconds[kind] / total for kind in (*KINDS, ARITHMETIC)}


def torchforce(potential: Potential, frame: Atoms) -> tuple[float, dict[str, float]]:
    """Return ms a step and the shares of the TorchScript module for OpenMM."""
    periodic = bool(frame.pbc.any())
    module = force_module(potential, frame.numbers.tolist(), None, periodic, DEFAULT_SKIN)
    box = torch.from_numpy(np.asarray(frame.cell) / ANGSTROM_PER_NM) if periodic else None
    start = torch.from_numpy(frame.positions / ANGSTROM_PER_NM)

    def step() -> None:
        module(start.clone().requires_grad_(), box).backward()

    for _ in range(5):
        step()
    found: Counter[str] = Counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(REPEATS):
            step()
    for event in profiler.key_averages():
        if event.key.startswith("aten::"):
            found[kind_of(event.key)] += event.self_cpu_time_total
    return least_ms(step), shares(found)


def session_of(path: Path, prefix: str | None = None) -> onnxruntime.InferenceSession:
    """Return a file opened with one thread; with a prefix a profile is written."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.enable_profiling = prefix is not None
    settings.profile_file_prefix = prefix or ""
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def onnx(potential: Potential, frame: Atoms) -> tuple[float, dict[str, float]]:
    """Return ms a step and the shares of the ONNX file in ONNX Runtime."""
    batch = batch_from_atoms(frame, dtype=torch.float32)
    edges = find_neighbors(batch, potential.card.cutoff)
    given = (batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors, batch.system_idx)
    feeds = {name: value.contiguous().numpy() for name, value in zip(INPUTS, given, strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ONNXExporter().export(potential, path)
        found: Counter[str] = Counter()
        plain = session_of(path)
        milliseconds = least_ms(lambda: plain.run(OUTPUTS, feeds))
        profiled = session_of(path, prefix=str(Path(folder) / "profile"))
        for _ in range(REPEATS):
            profiled.run(OUTPUTS, feeds)
        for event in json.loads(Path(profiled.end_profiling()).read_text()):
            if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
                found[kind_of(event["args"]["op_name"])] += event["dur"]
    return milliseconds, shares(found)


def kernel(potential: Potential, frame: Atoms) -> float:
    """Return ms a step of the CPU kernel with edges given."""
    batch = batch_from_atoms(frame, dtype=torch.float32)
    edges = find_neighbors(batch, potential.card.cutoff)
    return least_ms(lambda: potential.predict(batch, edges=edges))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("model")
    options.add_argument("--systems", default="49,504")
    asked = options.parse_args()
    use_threads(1)
    potential, fast = load(asked.model, device="cpu", kernel="reference"), load(asked.model, device="cpu", kernel="cpu")
    rows = []
    for system in asked.systems.split(","):
        (frame,) = build(system)
        beside = kernel(fast, frame)
        for name, measure in (("openmm-torchforce", torchforce), ("onnx", onnx)):
            milliseconds, found = measure(potential, frame)
            rows.append({"file": name, "system": system, "step_ms": milliseconds, "kernel_ms": beside, "shares": found})
            shares = ", ".join(f"{kind} {share:.0%}" for kind, share in found.items())
            print(f"{name}, {system} atoms: {milliseconds:.2f} ms (CPU kernel {beside:.2f}); {shares}", flush=True)
    write(asked.out, {"model": Path(asked.model).name, "rows": rows})


if __name__ == "__main__":
    main()
