"""Comparison of recipes of training at equal processor time: optimizer, batch, loss, schedule and network.

``python -m benchmarks recipes DATA.h5 TEST.h5 [--preset tiny] [--only NAME …] [--resume]``: the same network is trained
on the same set in several ways, each for the same processor time (the cost of a step is measured before, optimizer
included) and with each seed. Errors are those on TEST.h5, molecules of other scaffolds. Each later change is one
change to the recipe ``muon``. ``--resume`` keeps the rows of the results file that were measured with the same
processor time on the same set.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.command import parser, use_threads, write
from benchmarks.training.equal_cost import METRICS
from mlff_core import load
from mlff_core.config import apply_overrides, from_dict
from mlff_core.data.hdf5 import Dataset
from mlff_core.judging.evaluate import evaluate
from mlff_core.training.progress import Reporter
from mlff_core.training.trainer import TrainConfig, Trainer

RATES = {
    "adamw": {"ultra-tiny": 1e-2, "tiny": 4e-3, "original": 2e-3},
    "soap": {"ultra-tiny": 5e-3, "tiny": 4e-3, "original": 3e-3},
    "muon": {"ultra-tiny": 5e-3, "tiny": 4e-3, "original": 3e-3},
}
"""Learning rate of each optimizer for each preset, the best of three each."""

CHANGES: dict[str, list[str]] = {
    "batches of 320 atoms": ["batch.atoms=320", "batch.edges=8192"],
    "batches of 80 atoms": ["batch.atoms=80", "batch.edges=2048"],
    "energy weight 20": ["loss.energy_weight=20.0"],
    "energy weight 10": ["loss.energy_weight=10.0"],
    "mean absolute error, energy weight 2": ["loss.kind='mae'", "loss.energy_weight=2.0"],
    "Gaussians": ["model.radial_basis='gaussian'"],
    "cutoff 4.5 Å": ["model.cutoff=4.5"],
    "cutoff 5.5 Å": ["model.cutoff=5.5"],
    "filters shared or not, the other way": [],
    "learning rate doubled": [],
    "learning rate halved": [],
    "moving average 0.998": ["optimizer.ema_decay=0.998"],
    "no warm-up": ["schedule.warmup_steps=0"],
    "weight decay 1e-6": ["optimizer.weight_decay=1e-6"],
    "weight decay 0.2": ["optimizer.weight_decay=0.2"],
    "momentum 0.9": ["optimizer.betas=[0.9, 0.999]"],
}
"""Settings of each change to ``muon``; those without settings depend on the preset."""


def recipes(preset: str) -> dict[str, list[str]]:
    """Return the changed settings of each recipe, by name."""
    found = {kind: [f"optimizer.kind='{kind}'", f"optimizer.lr={rates[preset]}"] for kind, rates in RATES.items()}
    base, rate = found["muon"], RATES["muon"][preset]
    by_preset = {
        "filters shared or not, the other way": [f"model.shared_filters={str(preset == 'original').lower()}"],
        "learning rate doubled": [f"optimizer.lr={2 * rate}"],
        "learning rate halved": [f"optimizer.lr={rate / 2}"],
    }
    return {**found, **{name: base + (changes or by_preset[name]) for name, changes in CHANGES.items()}}


def config_of(path: Path, out: Path, preset: str, seed: int, steps: int, changes: list[str]) -> TrainConfig:
    """Return the settings of a run; the changes come last."""
    plain = {
        "name": "recipe",
        "out": str(out),
        "seed": seed,
        "device": "cpu",
        "step": "kernel",
        "model": {"preset": preset, "elements": ["H", "C", "N", "O", "F", "P", "S", "Cl"]},
        "data": {"path": str(path), "max_validation": 300},
        "batch": {"atoms": 160, "edges": 4096, "cache_mib": 2048},
        "loss": {"energy_weight": 40.0, "energy_delta": 0.02, "forces_delta": 0.2},
        "optimizer": {"weight_decay": 0.05, "clip": 5.0, "ema_decay": 0.995},
        "schedule": {"warmup_steps": min(100, steps // 4), "final_factor": 0.005},
        "stop": {"max_steps": steps},
        "log": {"validate_every_steps": max(1, steps // 2), "every_steps": max(1, steps // 10)},
    }
    return from_dict(TrainConfig, apply_overrides(plain, changes))


class Clock(Reporter):
    """Records the processor time at every reported step, s."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}

    def step(self, step: int, progress: float, values: dict[str, float], rate: float, seconds_left: float) -> None:
        """Record the time of a step; see :meth:`Reporter.step`."""
        self.seconds[step] = time.process_time()


def cost_of_a_step(path: Path, folder: Path, preset: str, changes: list[str]) -> float:
    """Return the processor time of a step, s: the median over blocks of ten steps of a short run."""
    config, clock = config_of(path, folder, preset, 0, 200, changes), Clock()
    config = replace(config, log=replace(config.log, validate_every_steps=200, every_steps=10))
    Trainer(config, clock).fit(resume=False)
    steps = sorted(clock.seconds)
    return median((clock.seconds[b] - clock.seconds[a]) / (b - a) for a, b in pairwise(steps) if a >= 30 and b < 200)


def main() -> None:
    options = parser(__doc__, "recipes.json")
    options.add_argument("data", type=Path)
    options.add_argument("test", type=Path)
    options.add_argument("--preset", default="ultra-tiny", choices=sorted(RATES["muon"]))
    options.add_argument("--cpu-seconds", type=float, default=90.0, help="processor time of each run, s")
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--only", nargs="+", help="names of recipes; all without it")
    options.add_argument("--resume", action="store_true")
    arguments = options.parse_args()
    use_threads(1, flush_denormals=True)
    chosen = recipes(arguments.preset)
    unknown = sorted(set(arguments.only or ()) - set(chosen))
    if unknown:
        options.error(f"no recipe is called {', '.join(unknown)}; there are {', '.join(chosen)}")
    result: dict[str, Any] = {"presets": {}}
    if arguments.resume and arguments.out.exists():
        result = {"presets": json.loads(arguments.out.read_text())["presets"]}
    with Dataset(arguments.data) as data, Dataset(arguments.test) as test, TemporaryDirectory() as name:
        conditions = {"cpu_seconds": arguments.cpu_seconds, "structures": len(data), "test": len(test)}
        found = result["presets"].get(arguments.preset)
        if found is None or {key: found[key] for key in conditions} != conditions:
            found = result["presets"][arguments.preset] = {**conditions, "recipes": {}}
        for recipe, changes in chosen.items():
            if arguments.only and recipe not in arguments.only:
                continue
            row = found["recipes"].get(recipe)
            if row is None:
                seconds = cost_of_a_step(
                    arguments.data, Path(name) / recipe.replace("/", " "), arguments.preset, changes
                )
                steps = max(20, round(arguments.cpu_seconds / seconds))
                row = {"changes": changes, "step_cpu_ms": 1e3 * seconds, "steps": steps, "runs": []}
            for seed in range(len(row["runs"]), arguments.seeds):
                out = Path(name) / f"{recipe} {seed}"
                config = config_of(arguments.data, out, arguments.preset, seed, row["steps"], changes)
                clock = Clock()
                run = Trainer(config, clock).fit(resume=False)
                cpu = max(clock.seconds.values()) - min(clock.seconds.values())
                metrics = evaluate(load(run.model, device="cpu", guard="off"), test).metrics
                row["runs"].append({"seed": seed, "cpu_seconds": cpu, **{key: metrics[key] for key in METRICS}})
                found["recipes"][recipe] = row
                print(json.dumps({"recipe": recipe, "steps": row["steps"], **row["runs"][-1]}), flush=True)
                write(arguments.out, result)


if __name__ == "__main__":
    main()
