"""Comparison of network shapes within a budget of parameters, at equal cost of training.

``python -m benchmarks architectures TRAIN.h5 TEST.h5 [--budget ultra-tiny]``: networks that differ from a preset in one
setting, each as wide as the budget allows (widths are multiples of 4), are trained on the same structures for the same
CPU time. Errors are those on molecules of other scaffolds. The processor time of an MD step with the CPU kernel and a
skin, of a molecule of 49 atoms and of 504 atoms of water, is measured alternately.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.command import use_threads, write
from benchmarks.speed.systems import molecule, random_student, water
from benchmarks.training.equal_cost import draw, learned, n_steps, options_of, settings, step_costs, write_test
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.model.painn import PaiNN, PaiNNConfig, count_parameters
from mlff_core.model.presets import BUDGETS, preset
from mlff_core.potentials.verlet import VerletPotential

CHANGES: dict[str, dict[str, Any]] = {
    "the preset": {},
    "two layers": {"n_layers": 2},
    "four layers": {"n_layers": 4},
    "cutoff 4 Å": {"cutoff": 4.0},
    "cutoff 4.5 Å": {"cutoff": 4.5},
    "cutoff 6 Å": {"cutoff": 6.0},
    "12 radial functions": {"n_radial": 12},
    "Gaussians": {"radial_basis": "gaussian"},
    "filters shared or not, the other way": {"shared_filters": None},
    "no core": {"core": 0.0},
}
"""Changes to the preset; None inverts a switch."""


def widest(base: PaiNNConfig, changes: dict[str, Any], budget: int) -> PaiNNConfig:
    """Return the widest network with these changes within the budget of parameters."""
    changes = {name: not getattr(base, name) if value is None else value for name, value in changes.items()}
    fitting = [replace(base, **changes, hidden=width) for width in range(4, 2 * base.hidden, 4)]
    return max((c for c in fitting if count_parameters(PaiNN(c)) <= budget), key=lambda config: config.hidden)


def as_section(config: PaiNNConfig) -> dict[str, Any]:
    """Return the settings of a training config that select a network."""
    names = ("hidden", "n_layers", "n_radial", "cutoff", "radial_basis", "shared_filters", "core")
    return {name: getattr(config, name) for name in names}


def md_costs(shapes: dict[str, PaiNNConfig]) -> dict[str, dict[str, float]]:
    """Return the processor time of an MD step of each network, ms, as the median of many alternate steps."""
    found: dict[str, dict[str, float]] = {name: {} for name in shapes}
    noise = torch.Generator().manual_seed(0)
    for system, batch in (("49 atoms", molecule(49)), ("504 atoms of water", water(168))):
        running = {name: VerletPotential(random_student(shape, "cpu")) for name, shape in shapes.items()}
        taken: dict[str, list[float]] = {name: [] for name in shapes}
        for _ in range(40):
            moved = batch.positions + 0.01 * torch.randn(batch.positions.shape, generator=noise)
            for name, potential in running.items():
                start = time.process_time()
                for _ in range(4):
                    potential.predict(batch.with_positions(moved))
                taken[name].append(1e3 * (time.process_time() - start) / 4)
        for name, values in taken.items():
            found[name][system] = statistics.median(values[5:])
    return found


def main() -> None:
    options = options_of(__doc__, "architectures.json")
    options.set_defaults(structures=4000)
    options.add_argument("--budget", default="ultra-tiny", choices=list(BUDGETS))
    arguments = options.parse_args()
    use_threads(1, flush_denormals=True)
    base, budget = preset(arguments.budget), BUDGETS[arguments.budget]
    shapes = {name: widest(base, changes, budget) for name, changes in CHANGES.items()}
    result: dict[str, Any] = {
        "budget": arguments.budget,
        "train": {"file": arguments.train.name, "structures": arguments.structures},
        "test": {"file": arguments.test.name, "structures": arguments.test_structures},
        "cpu_seconds_of_steps": arguments.cpu_seconds,
        "networks": {},
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        structures, teacher = draw(arguments)
        write_dataset(folder / "labels.h5", structures, teacher=teacher)
        write_test(arguments, folder / "test.h5")
        seconds = step_costs(
            {
                way: settings(folder / "labels.h5", folder / "none", {}, arguments.budget, 0, 100, as_section(shape))
                for way, shape in shapes.items()
            }
        )
        steps_ms = md_costs(shapes)
        with Dataset(folder / "test.h5") as test:
            for seed in range(arguments.seeds):
                for way, shape in shapes.items():
                    steps = n_steps(arguments, seconds[way])
                    config = settings(
                        folder / "labels.h5", folder / "run", {}, arguments.budget, seed, steps, as_section(shape)
                    )
                    _, row = learned(config, test)
                    entry = result["networks"].setdefault(
                        way,
                        {
                            **as_section(shape),
                            "parameters": count_parameters(PaiNN(shape)),
                            "training_step_cpu_ms": 1e3 * seconds[way],
                            "md_step_cpu_ms": steps_ms[way],
                            "steps": steps,
                            "runs": [],
                        },
                    )
                    entry["runs"].append({"seed": seed, **row})
                    print(way, json.dumps({**entry, "runs": entry["runs"][-1:]}), flush=True)
                    write(arguments.out, result)


if __name__ == "__main__":
    main()
