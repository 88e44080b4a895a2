"""Times of training steps, by kind and precision."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.gpu_sections.bench import Bench, memory
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import find_neighbors

COMPILATION_S = 90.0
"""Seconds that torch.compile may need for the training graph."""


def training(bench: Bench, result: dict[str, Any]) -> None:
    """Atoms a second of whole training steps, the optimizer's included, by kind and precision; labels are random."""
    import contextlib

    from mlff_core.data.loader import TrainingBatch
    from mlff_core.data.structure import LabelledBatch
    from mlff_core.training.loss import LossConfig
    from mlff_core.training.settings import DataSection, TrainConfig
    from mlff_core.training.state import Learner
    from mlff_core.training.step import GradientStep

    config = TrainConfig(data=DataSection(path=Path("random.h5")))
    kinds = [("finite-difference", "float32"), ("double-backward", "float32")]
    if not bench.dry:
        kinds += [(kind, precision) for precision in ("tf32", "bf16") for kind, _ in kinds[:2]] + [("compiled", "tf32")]
    for n_structures in (100, 400)[: 1 if bench.dry else None]:
        batch = bench.on(bench.molecules(n_structures, 41))
        edges = find_neighbors(batch, bench.config.cutoff)
        item = TrainingBatch(_labels(LabelledBatch, batch), edges, batch.n_systems)
        for kind, precision in kinds:
            name = f"{kind}, {precision}, {n_structures} structures"
            if kind == "compiled" and bench.left_s() < COMPILATION_S:
                result[name] = {"skipped": "too little time is left to compile it"}
                continue
            model = bench.model().requires_grad_(True)
            learner = Learner(model, "", config)
            in_bf16 = partial(torch.autocast, bench.device.type, torch.bfloat16)
            step = GradientStep(model, LossConfig(), kind, in_bf16 if precision == "bf16" else contextlib.nullcontext)

            def take(step: GradientStep = step, learner: Learner = learner, item: TrainingBatch = item) -> None:
                learner.optimizer.zero_grad(set_to_none=True)
                step(item, lambda weights: weights)
                learner.update(1.0)

            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("high" if precision == "tf32" else before)
            try:
                times = bench.wall_ms(take, 20)
                result[name] = {**times, "atoms_per_s": 1e3 * batch.n_atoms / times["median_ms"], **memory(bench)}
            except RuntimeError as error:  # out of memory, or what torch.compile does not compile
                result[name] = {"error": repr(error)}
            finally:
                torch.set_float32_matmul_precision(before)


def _labels(kind: Any, batch: AtomicBatch) -> Any:
    """Return random labels for a batch."""
    noise = torch.Generator().manual_seed(0)
    given = {
        "batch": batch,
        "energy": torch.randn(batch.n_systems, generator=noise, dtype=torch.float64).to(batch.device),
        "forces": torch.randn(batch.n_atoms, 3, generator=noise).to(batch.device, batch.dtype),
        "index": torch.arange(batch.n_systems, device=batch.device),
    }
    return kind(**given)
