"""Processor time of one training step, by kind.

    python -m benchmarks training_step DATA.h5 [--preset original] [--atoms 41] [--kinds …] [--json FILE]

A batch of 8 structures of equal size; the kinds of step alternate, and the shortest time of each is reported.
``gradient_error`` is the relative deviation of the parameter gradient from that of double backward. The time of the
neighbour search is measured first: all pairs at once (molecules), structure by structure (cells), and from memory.
"""

from __future__ import annotations

import contextlib
import time

import numpy as np
import torch

from benchmarks.command import parser, use_threads, write
from mlff_core.data.edge_store import EdgeStore
from mlff_core.data.edges import find_edges
from mlff_core.data.hdf5 import Dataset
from mlff_core.data.loader import TrainingBatch
from mlff_core.structures.neighbors import find_neighbors
from mlff_core.training.loss import LossConfig
from mlff_core.training.settings import ModelSection
from mlff_core.training.start import starting_model
from mlff_core.training.step import GradientStep

KINDS = ("double-backward", "finite-difference", "kernel", "compiled")


def edge_times(item: TrainingBatch) -> dict[str, float]:
    """Return the processor time of each way to get the edges of a batch, ms."""
    batch, edges = item.labels.batch, item.edges
    store = EdgeStore(1 << 30, has_cells=False)
    store.add(batch, edges, torch.bincount(batch.system_idx[edges.centers], minlength=batch.n_systems).numpy())
    store.close()
    ways = {
        "all pairs": lambda: find_edges(batch, 5.0),
        "structure by structure": lambda: find_neighbors(batch, 5.0),
        "from memory": lambda: store.gather(np.arange(batch.n_systems), batch),
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(30):
        for name, way in ways.items():
            cpu = time.process_time()
            way()
            least[name] = min(least[name], 1e3 * (time.process_time() - cpu))
    return least


def measure(path: str, preset: str, n_atoms: int, kinds: list[str]) -> list[dict[str, float | str]]:
    """Return a row for each kind of step."""
    dataset = Dataset(path)
    chosen = np.flatnonzero(dataset.atoms_per_structure == n_atoms)[::50][:8]
    labels = dataset.read(chosen)
    item = TrainingBatch(labels, find_edges(labels.batch, 5.0), 8)
    model, _ = starting_model(ModelSection(preset=preset), dataset, chosen, seed=0)
    print(f"{preset}: 8 structures of {n_atoms} atoms, {item.edges.n_edges} edges")
    for name, milliseconds in edge_times(item).items():
        print(f"edges, {name}: {milliseconds:.2f} ms")
    steps = {kind: GradientStep(model, LossConfig(), kind, contextlib.nullcontext) for kind in kinds}
    gradients, least, first = {}, dict.fromkeys(steps, float("inf")), {}
    for repeat in range(12):
        for kind, step in steps.items():
            model.zero_grad()
            start, cpu = time.perf_counter(), time.process_time()
            step(item, dict)
            if repeat == 0:
                first[kind] = time.perf_counter() - start
                gradients[kind] = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
            least[kind] = min(least[kind], time.process_time() - cpu)
    truth = gradients.get("double-backward", next(iter(gradients.values())))
    return [
        {
            "preset": preset,
            "kind": kind,
            "step_ms": 1e3 * least[kind],
            "first_call_s": first[kind],
            "gradient_error": float((gradients[kind] - truth).norm() / truth.norm()),
        }
        for kind in steps
    ]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("data")
    options.add_argument("--preset", default="original")
    options.add_argument("--atoms", type=int, default=41)
    options.add_argument("--kinds", default=",".join(KINDS))
    asked = options.parse_args()
    use_threads(1, flush_denormals=True)
    rows = measure(asked.data, asked.preset, asked.atoms, asked.kinds.split(","))
    for row in rows:
        print(f"{row['kind']:18s} {row['step_ms']:7.1f} ms  {row['gradient_error']:.1e}")
    write(asked.out, {"n_atoms": 8 * asked.atoms, "rows": rows})


if __name__ == "__main__":
    main()
