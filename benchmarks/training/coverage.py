"""Coverage of the intervals of a committee: ``python -m benchmarks coverage TRAIN.h5 TEST.h5 --work DIR``.

Small students that differ only in their seeds are trained on the same few structures. Their spread is calibrated on
other molecules, and the fraction of errors inside each interval is measured on TEST.h5, which should have other
scaffolds. Trainings are kept in DIR; a killed benchmark continues when it is run again.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import parser, use_threads, write
from mlff_core import load
from mlff_core.config import from_dict
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.judging.calibrate import calibrate
from mlff_core.judging.evaluate import evaluate
from mlff_core.potentials.ensemble import Ensemble
from mlff_core.training.trainer import TrainConfig, Trainer

METRICS = ("force_mae", "force_rmse", "energy_mae_mev_per_atom")


def write_part(source: Path, target: Path, n: int, n_validation: int) -> None:
    """Write ``n`` structures of molecules drawn at random and ``n_validation`` of others."""
    with Dataset(source) as data:
        rng = np.random.default_rng(7)
        # A fifth of each molecule's structures, so that many molecules are included.
        chosen = np.sort(rng.permutation(len(data))[: len(data) // 5])
        place = np.empty(int(data.molecule_id.max()) + 1, dtype=np.int64)
        place[rng.permutation(len(place))] = np.arange(len(place))
        chosen = chosen[np.argsort(place[data.molecule_id[chosen]], kind="stable")][: n + n_validation]
        held_out = set(data.molecule_id[chosen[n:]].tolist())
        write_dataset(
            target,
            [
                replace(s, smiles=None, split="validation" if s.molecule_id in held_out else "train")
                for s in data.structures(chosen)
            ],
            teacher=data.teacher,
        )


def settings(path: Path, out: Path, seed: int, steps: int) -> TrainConfig:
    return from_dict(
        TrainConfig,
        {
            "name": "seed",
            "out": str(out),
            "seed": seed,
            "device": "cpu",
            "step": "kernel",
            "model": {"preset": "ultra-tiny", "elements": ["H", "C", "N", "O", "F", "P", "S", "Cl"]},
            "data": {"path": str(path), "max_validation": 200},
            "batch": {"atoms": 320, "edges": 8192},
            "loss": {"energy_weight": 40.0, "energy_delta": 0.02, "forces_delta": 0.2},
            "optimizer": {"lr": 5e-3, "weight_decay": 1e-6, "clip": 5.0, "ema_decay": 0.99},
            "schedule": {"warmup_steps": 100, "final_factor": 0.005},
            "stop": {"max_steps": steps},
            "log": {"validate_every_steps": max(1, steps // 3)},
        },
    )


def main() -> None:
    options = parser(__doc__, "coverage.json")
    options.add_argument("train", type=Path)
    options.add_argument("test", type=Path)
    options.add_argument("--work", type=Path, required=True, help="folder of the trainings")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--steps", type=int, default=1000)
    options.add_argument("--structures", type=int, default=6000)
    options.add_argument("--validation", type=int, default=1000, help="structures to calibrate on")
    arguments = options.parse_args()
    use_threads(1, flush_denormals=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    part = arguments.work / "part.h5"
    if not part.exists():
        write_part(arguments.train, part, arguments.structures, arguments.validation)
    members = []
    for seed in range(arguments.seeds):
        result = Trainer(settings(part, arguments.work / f"seed-{seed}", seed, arguments.steps)).fit(resume=True)
        members.append(load(result.model, device="cpu"))
        print(json.dumps({"seed": seed, "cpu_seconds": round(time.process_time() - start)}), flush=True)
    with Dataset(part) as data, Dataset(arguments.test) as test:
        committee = calibrate(Ensemble(members), data, "validation")
        found = evaluate(committee, test)
        report: dict[str, Any] = {
            "train": {"file": arguments.train.name, "structures": len(data.indices("train"))},
            "calibrated_on": {
                "structures": len(data.indices("validation")),
                "molecules": len(np.unique(data.molecule_id[data.indices("validation")])),
            },
            "test": {
                "file": arguments.test.name,
                "structures": len(test),
                "molecules": len(np.unique(test.molecule_id)),
            },
            "seeds": arguments.seeds,
            "steps": arguments.steps,
            "factors": asdict(committee.calibration),
            "metrics": {name: found.metrics[name] for name in METRICS},
            "coverage": found.reliability,
        }
    print(json.dumps(report, indent=1))
    write(arguments.out, report)


if __name__ == "__main__":
    main()
