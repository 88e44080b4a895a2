"""Gain of each distillation loss at equal cost.

``python -m benchmarks ablations TRAIN.h5 TEST.h5 [--original MODEL]``: a small student is trained on the same few
structures in several ways, each for the same CPU time. The cost of a step is measured first, alternately, and gives the
number of steps of each way. Errors are those on molecules of other scaffolds, against the teacher. The cost of
labelling the rows and of training the larger student is not included; the cost of labelling is reported.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.command import use_threads, write
from benchmarks.training.equal_cost import METRICS, draw, learned, n_steps, options_of, settings, step_costs, write_test
from mlff_core import load
from mlff_core.cli.data_run import load_teacher
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.data.label import label_structures
from mlff_core.judging.evaluate import evaluate


def arms(with_original: bool) -> dict[str, tuple[str, dict[str, float]]]:
    """Return the data file and the changes to the loss for each way of training."""
    found = {
        "labels": ("labels", {}),
        "labels + Hessian rows": ("hessian", {"hessian_weight": 0.05}),
        "labels + atomic energies": ("labels", {"atom_energies_weight": 1.0}),
    }
    if with_original:
        found["labels of the student original"] = ("original", {})
        found["labels and atomic energies of original"] = ("original", {"atom_energies_weight": 1.0})
    return found


def prepare(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Write the data files of the ways of training, and return the CPU seconds of labelling."""
    seconds: dict[str, float] = {}
    teacher = load_teacher(arguments.teacher, {})
    plain, lineage = draw(arguments)
    start = time.process_time()
    made = label_structures(teacher, plain, atom_energies=True, max_force=0.0).structures
    seconds["teacher"] = time.process_time() - start
    labelled = [s for s in made if s is not None]
    write_dataset(folder / "labels.h5", labelled, teacher=lineage)
    start = time.process_time()
    # A row for every fourth structure: a step then costs 1.5 times as much.
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


def main() -> None:
    options = options_of(__doc__, "ablations.json")
    options.set_defaults(seeds=2)
    options.add_argument("--original", type=Path, help="a larger student that teaches the small one")
    options.add_argument("--teacher", default="so3lr")
    options.add_argument("--preset", default="ultra-tiny")
    arguments = options.parse_args()
    use_threads(1, flush_denormals=True)
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
                found = evaluate(load(arguments.original, device="cpu"), test).metrics
                result["original"] = {key: found[key] for key in METRICS}
            for seed in range(arguments.seeds):
                for way, (file, loss) in ways.items():
                    steps = n_steps(arguments, seconds[way])
                    config = settings(folder / f"{file}.h5", folder / "run", loss, arguments.preset, seed, steps)
                    cpu, row = learned(config, test)
                    entry = result["ways"].setdefault(
                        way, {"loss": loss, "step_cpu_ms": 1e3 * seconds[way], "steps": steps, "runs": []}
                    )
                    entry["runs"].append({"seed": seed, "cpu_seconds": cpu, **row})
                    print(json.dumps({"way": way, "seed": seed, "steps": steps, "cpu_seconds": cpu, **row}), flush=True)
                    write(arguments.out, result)
