"""What each distillation loss gains at equal cost.

``python benchmarks/ablations.py TRAIN.h5 TEST.h5 [--original MODEL]``: a small student is trained on the same few
structures in several ways, each for the same CPU time of steps: what a step costs is measured first, in turns, and sets
how many steps each way may take. Errors are those on molecules of other scaffolds, against the teacher. What labelling
the rows and training the larger student cost is not counted, but labelling is named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from mlff_core import load
from mlff_core.atomic_write import write_atomically
from mlff_core.cli.data_run import load_teacher
from mlff_core.config import from_dict
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.data.label import label_structures
from mlff_core.data.loader import BatchLoader
from mlff_core.data.structure import LabelledStructure
from mlff_core.judging.evaluate import evaluate
from mlff_core.training.start import starting_model
from mlff_core.training.step import GradientStep
from mlff_core.training.trainer import TrainConfig, Trainer

FIGURES = ("force_mae", "force_rmse", "force_r2", "energy_mae_mev_per_atom", "relative_energy_mae_mev_per_atom")


def arms(with_original: bool) -> dict[str, tuple[str, dict[str, float]]]:
    """Return for each way of training the file it reads and its changes to the loss."""
    found = {
        "labels": ("labels", {}),
        "labels + Hessian rows": ("hessian", {"hessian_weight": 0.05}),
        "labels + atomic energies": ("labels", {"atom_energies_weight": 1.0}),
    }
    if with_original:
        found["labels of the student original"] = ("original", {})
        found["labels and atomic energies of original"] = ("original", {"atom_energies_weight": 1.0})
    return found


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
    """Return structures to learn from and, of other molecules, to validate on; and who labelled them."""
    with Dataset(arguments.train) as data:
        rng = np.random.default_rng(7)
        # Whole molecules, so that none is both trained and validated on.
        wanted = arguments.structures + arguments.validation
        order = rng.permutation(np.unique(data.molecule_id))
        place = np.empty(int(order.max()) + 1, dtype=np.int64)
        place[order] = np.arange(len(order))
        # A tenth of each molecule's structures, so that many molecules are met.
        chosen = rng.permutation(len(data))[: len(data) // 10]
        chosen = chosen[np.argsort(place[data.molecule_id[chosen]], kind="stable")][:wanted]
        held_out = set(data.molecule_id[chosen[-arguments.validation :]].tolist())
        drawn = [
            replace(s, smiles=None, split="validation" if s.molecule_id in held_out else "train")
            for s in data.structures(chosen)
        ]
        return drawn, data.teacher


def write_test(arguments: argparse.Namespace, path: Path) -> None:
    """Write the structures to judge by."""
    with Dataset(arguments.test) as test:
        some = np.sort(np.random.default_rng(8).choice(len(test), min(arguments.test_structures, len(test)), False))
        write_dataset(path, list(test.structures(some)), teacher=test.teacher)


def prepare(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Write the files the ways of training read, and return the CPU seconds that labelling them took."""
    seconds: dict[str, float] = {}
    teacher = load_teacher(arguments.teacher, {})
    plain, lineage = draw(arguments)
    start = time.process_time()
    made = label_structures(teacher, plain, atom_energies=True, max_force=0.0).structures
    seconds["teacher"] = time.process_time() - start
    labelled = [s for s in made if s is not None]
    write_dataset(folder / "labels.h5", labelled, teacher=lineage)
    start = time.process_time()
    # A row for every fourth structure: the step then costs half as much again.
    rows = label_structures(teacher, labelled[::4], atom_energies=True, max_force=0.0, hessian_rows=1).structures
    seconds["teacher, a quarter of them with a Hessian row each"] = time.process_time() - start
    mixed = [rows[k // 4] or s if k % 4 == 0 else s for k, s in enumerate(labelled)]
    write_dataset(folder / "hessian.h5", mixed, teacher=lineage)
    if arguments.original:
        start = time.process_time()
        original = load(arguments.original, device="cpu")
        by_student = label_structures(original, labelled, atom_energies=True, max_force=0.0).structures
        seconds["original"] = time.process_time() - start
        write_dataset(folder / "original.h5", [s for s in by_student if s is not None], teacher={"name": "original"})
    write_test(arguments, folder / "test.h5")
    return seconds


def step_costs(configs: dict[str, TrainConfig]) -> dict[str, float]:
    """Return the CPU seconds of a training step by each config, the median of many taken in turns."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--original", type=Path, help="a larger student that teaches the small one")
    parser.add_argument("--teacher", default="so3lr")
    parser.add_argument("--preset", default="ultra-tiny")
    parser.add_argument("--structures", type=int, default=2000)
    parser.add_argument("--validation", type=int, default=200, help="structures to choose the best weights by")
    parser.add_argument("--test-structures", type=int, default=600)
    parser.add_argument("--cpu-seconds", type=float, default=180.0, help="of steps, for each way of training")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ablations.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    ways = arms(arguments.original is not None)
    with TemporaryDirectory() as name:
        folder = Path(name)
        labelling = prepare(folder, arguments)
        print(json.dumps({"labelling, CPU seconds": labelling}), flush=True)
        seconds = step_costs(
            {
                way: settings(folder / f"{file}.h5", folder / "none", loss, arguments.preset, 0, 100)
                for way, (file, loss) in ways.items()
            }
        )
        result: dict[str, Any] = {
            "preset": arguments.preset,
            "train": {
                "file": arguments.train.name,
                "structures": arguments.structures,
                "validation": arguments.validation,
            },
            "test": {"file": arguments.test.name, "structures": arguments.test_structures},
            "cpu_seconds_of_steps": arguments.cpu_seconds,
            "labelling_cpu_seconds": labelling,
            "ways": {},
        }
        with Dataset(folder / "test.h5") as test:
            if arguments.original:
                found = evaluate(load(arguments.original, device="cpu"), test).figures
                result["original"] = {key: found[key] for key in FIGURES}
            for seed in range(arguments.seeds):
                for way, (file, loss) in ways.items():
                    steps = max(20, round(arguments.cpu_seconds / seconds[way]))
                    start = time.process_time()
                    config = settings(folder / f"{file}.h5", folder / "run", loss, arguments.preset, seed, steps)
                    run = Trainer(config).fit(resume=False)
                    cpu = time.process_time() - start
                    found = evaluate(load(run.model, device="cpu"), test).figures
                    row = {key: found[key] for key in FIGURES}
                    entry = result["ways"].setdefault(
                        way, {"loss": loss, "step_cpu_ms": 1e3 * seconds[way], "steps": steps, "runs": []}
                    )
                    entry["runs"].append({"seed": seed, "cpu_seconds": cpu, **row})
                    print(json.dumps({"way": way, "seed": seed, "steps": steps, "cpu_seconds": cpu, **row}), flush=True)
                    write_atomically(arguments.out, (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
