"""Trainings of small students, compared at equal CPU time."""

from __future__ import annotations

import argparse
import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parser
from mlff_core import load
from mlff_core.config import from_dict
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.data.loader import BatchLoader
from mlff_core.data.structure import LabelledStructure
from mlff_core.judging.evaluate import evaluate
from mlff_core.training.start import starting_model
from mlff_core.training.step import GradientStep
from mlff_core.training.trainer import TrainConfig, Trainer

METRICS = ("force_mae", "force_rmse", "force_r2", "energy_mae_mev_per_atom", "relative_energy_mae_mev_per_atom")


def options_of(doc: str | None, result: str) -> argparse.ArgumentParser:
    """Return the command line of a comparison; the benchmark adds its own options.

    Parameters
    ----------
    doc
        Docstring of the benchmark.
    result
        Name of the default output file in ``benchmarks/results``.
    """
    options = parser(doc, result)
    options.add_argument("train", type=Path)
    options.add_argument("test", type=Path)
    options.add_argument("--structures", type=int, default=2000)
    options.add_argument("--validation", type=int, default=200, help="structures to select the best weights with")
    options.add_argument("--test-structures", type=int, default=600)
    options.add_argument("--cpu-seconds", type=float, default=180.0, help="CPU time of each way of training, s")
    options.add_argument("--seeds", type=int, default=1)
    return options


def settings(
    path: Path,
    out: Path,
    loss: dict[str, float],
    preset: str,
    seed: int,
    steps: int,
    model: dict[str, Any] | None = None,
) -> TrainConfig:
    return from_dict(
        TrainConfig,
        {
            "name": "ablation",
            "out": str(out),
            "seed": seed,
            "device": "cpu",
            "step": "kernel",
            "model": {"preset": preset, "elements": ["H", "C", "N", "O", "F", "P", "S", "Cl"], **(model or {})},
            "data": {"path": str(path)},
            "batch": {"atoms": 160, "edges": 4096},
            "loss": {"energy_weight": 40.0, **loss},
            "optimizer": {"lr": 5e-3, "weight_decay": 1e-6, "clip": 5.0, "ema_decay": 0.99},
            "schedule": {"warmup_steps": min(100, steps // 4), "final_factor": 0.01},
            "stop": {"max_steps": steps},
            "log": {"validate_every_steps": max(1, steps // 6)},
        },
    )


def draw(arguments: argparse.Namespace) -> tuple[list[LabelledStructure], dict[str, Any]]:
    """Return training structures, validation structures of other molecules, and the name of the teacher."""
    with Dataset(arguments.train) as data:
        rng = np.random.default_rng(7)
        # Whole molecules, so that none is in both sets.
        wanted = arguments.structures + arguments.validation
        order = rng.permutation(np.unique(data.molecule_id))
        place = np.empty(int(order.max()) + 1, dtype=np.int64)
        place[order] = np.arange(len(order))
        # A tenth of each molecule's structures, so that many molecules are included.
        chosen = rng.permutation(len(data))[: len(data) // 10]
        chosen = chosen[np.argsort(place[data.molecule_id[chosen]], kind="stable")][:wanted]
        held_out = set(data.molecule_id[chosen[-arguments.validation :]].tolist())
        drawn = [
            replace(s, smiles=None, split="validation" if s.molecule_id in held_out else "train")
            for s in data.structures(chosen)
        ]
        return drawn, data.teacher


def write_test(arguments: argparse.Namespace, path: Path) -> None:
    """Write the test structures."""
    with Dataset(arguments.test) as test:
        some = np.sort(np.random.default_rng(8).choice(len(test), min(arguments.test_structures, len(test)), False))
        write_dataset(path, list(test.structures(some)), teacher=test.teacher)


def step_costs(configs: dict[str, TrainConfig]) -> dict[str, float]:
    """Return the CPU seconds of a training step with each config, as the median of many alternate steps."""
    steps, taken = {}, {name: [] for name in configs}
    for name, config in configs.items():
        data = Dataset(config.data.path)
        train = data.indices("train")
        model, _ = starting_model(config.model, data, train, 0)
        loader = BatchLoader(data, train, model.config.cutoff, replace(config.batch, prefetch=0), seed=0)
        steps[name] = (GradientStep(model, config.loss, "kernel", contextlib.nullcontext), loader.forever(0), model)
    for _ in range(25):
        for name, (step, batches, model) in steps.items():
            start = time.process_time()
            _, item = next(batches)
            model.zero_grad()
            step(item, dict)
            taken[name].append(time.process_time() - start)
    return {name: float(np.median(values[5:])) for name, values in taken.items()}


def learned(config: TrainConfig, test: Dataset) -> tuple[float, dict[str, Any]]:
    """Return the CPU seconds of a training, and its errors on a test set by the names in ``METRICS``."""
    start = time.process_time()
    run = Trainer(config).fit(resume=False)
    seconds = time.process_time() - start
    found = evaluate(load(run.model, device="cpu"), test).metrics
    return seconds, {key: found[key] for key in METRICS}


def n_steps(arguments: argparse.Namespace, seconds: float) -> int:
    """Return the number of steps of each way of training within the given CPU seconds."""
    return max(20, round(arguments.cpu_seconds / seconds))
