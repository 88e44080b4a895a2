"""Fine-tuning of a shipped student with a few hundred labels of new molecules, and its effect on other molecules.

    python -m benchmarks fine_tuning OWN.h5 [--replay LEARNED.h5] [--student organic-tiny] [--labels 300] [--json FILE]

``OWN.h5`` holds labels of molecules that the student was not trained on. Training structures are drawn from some of the
molecules. Errors are measured on the other structures of the same molecules, and on molecules that were not drawn,
which show other changes. The student is compared before fine-tuning, after fine-tuning with the new labels only, and
after fine-tuning with labels and replay.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.command import parser, use_threads, write
from mlff_core import load
from mlff_core.config import from_dict
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.judging.evaluate import evaluate
from mlff_core.training.trainer import TrainConfig, Trainer

METRICS = ("force_mae", "force_r2", "energy_mae_mev_per_atom", "relative_energy_mae_mev_per_atom")


def write_parts(source: Path, folder: Path, n_molecules: int, n_labels: int, n_others: int) -> dict[str, int]:
    """Write own.h5 (training), same.h5 and others.h5 (tests), and return the number of structures in each."""
    rng = np.random.default_rng(0)
    with Dataset(source) as data:
        order = rng.permutation(np.unique(data.molecule_id))
        mine = np.isin(data.molecule_id, order[:n_molecules])
        own = rng.permutation(np.flatnonzero(mine))
        parts = {
            "own": own[:n_labels],
            "same": own[n_labels:],
            "others": rng.permutation(np.flatnonzero(~mine))[:n_others],
        }
        for name, chosen in parts.items():
            write_dataset(folder / f"{name}.h5", data.structures(np.sort(chosen)), teacher=data.teacher)
    return {name: len(chosen) for name, chosen in parts.items()}


def settings(arguments: argparse.Namespace, folder: Path, replay: Path | None) -> TrainConfig:
    """Return the settings of the fine-tuning."""
    out = folder / ("with" if replay else "without")
    return from_dict(
        TrainConfig,
        {
            "name": "fine-tuned",
            "out": str(out),
            "device": "cpu",
            "model": {"init_from": arguments.student, "reference": "keep"},
            "data": {
                "path": str(folder / "own.h5"),
                "validation_fraction": 0.1,
                "test_fraction": 0.0,
                **({"replay": str(replay), "replay_share": 1.0} if replay else {}),
            },
            "batch": {"atoms": 320, "edges": 8192},
            "loss": {"energy_weight": 40.0},
            "optimizer": {"lr": arguments.lr, "ema_decay": 0.99},
            "schedule": {"warmup_steps": 50, "final_factor": 0.01},
            "stop": {"max_steps": arguments.steps},
            "log": {"validate_every_steps": max(1, arguments.steps // 8)},
        },
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("own", type=Path)
    options.add_argument("--replay", type=Path)
    options.add_argument("--student", default="organic-tiny")
    options.add_argument("--molecules", type=int, default=20)
    options.add_argument("--labels", type=int, default=300)
    options.add_argument("--others", type=int, default=600)
    options.add_argument("--steps", type=int, default=1500)
    options.add_argument("--lr", type=float, default=5e-4)
    arguments = options.parse_args()
    use_threads(1)
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        counts = write_parts(arguments.own, folder, arguments.molecules, arguments.labels, arguments.others)
        ways: dict[str, Path | None] = {"its own labels": None}
        if arguments.replay:
            ways["its own labels and replay"] = arguments.replay
        models = {"before": (arguments.student, 0.0)}
        for way, replay in ways.items():
            start = time.process_time()
            config = settings(arguments, folder, replay)
            Trainer(config).fit()
            models[way] = (str(Path(config.out) / "model.pt"), time.process_time() - start)
        for way, (model, seconds) in models.items():
            row: dict[str, object] = {"after": way, "cpu_seconds": seconds}
            for part in ("same", "others"):
                with Dataset(folder / f"{part}.h5") as data:
                    found = evaluate(load(model, device="cpu"), data).to_json()
                row[part] = {figure: found[figure] for figure in METRICS}
            rows.append(row)
            print(json.dumps(row), flush=True)
    about = {"student": arguments.student, "steps": arguments.steps, "structures": counts}
    write(arguments.out, {**about, "rows": rows})


if __name__ == "__main__":
    main()
