"""CPU time of one training step, by kind: ``python benchmarks/training_step.py DATA.h5 [PRESET] [N_ATOMS] [KIND …]``.

A batch of 8 structures of N_ATOMS atoms (41); the kinds take turns, and the least time of each counts. The last column
is the distance of the parameter gradient from that of double backward, relative.
"""

from __future__ import annotations

import contextlib
import sys
import time

import numpy as np
import torch

from mlff_core.data.edges import find_edges
from mlff_core.data.hdf5 import Dataset
from mlff_core.data.loader import TrainingBatch
from mlff_core.distill.loss import LossConfig
from mlff_core.distill.settings import ModelSection
from mlff_core.distill.start import starting_model
from mlff_core.distill.step import GradientStep

KINDS = ("double-backward", "finite-difference", "kernel", "compiled")


def main(path: str, preset: str = "original", n_atoms: str = "41", *kinds: str) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dataset = Dataset(path)
    chosen = np.flatnonzero(dataset.atoms_per_structure == int(n_atoms))[::50][:8]
    labels = dataset.read(chosen)
    item = TrainingBatch(labels, find_edges(labels.batch, 5.0), 8)
    model, _ = starting_model(ModelSection(preset=preset), dataset, chosen, seed=0)
    print(f"{preset}: 8 structures of {n_atoms} atoms, {item.edges.n_edges} edges")
    steps = {kind: GradientStep(model, LossConfig(), kind, contextlib.nullcontext) for kind in kinds or KINDS}
    gradients, least = {}, dict.fromkeys(steps, float("inf"))
    for repeat in range(12):
        for kind, step in steps.items():
            model.zero_grad()
            start, cpu = time.perf_counter(), time.process_time()
            step(item, dict)
            if repeat == 0:
                print(f"{kind}: first call {time.perf_counter() - start:.1f} s")
                gradients[kind] = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
            least[kind] = min(least[kind], time.process_time() - cpu)
    truth = gradients.get("double-backward", next(iter(gradients.values())))
    for kind, seconds in least.items():
        error = float((gradients[kind] - truth).norm() / truth.norm())
        print(f"{kind:18s} {1e3 * seconds:7.1f} ms  {error:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
