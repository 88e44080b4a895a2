"""Train a shipped student again, stage by stage: ``python examples/train/stages.py NAME DATA RUNS [--minutes M]``.

The recipe is ``NAME.stages.toml`` beside this script. It has the settings, the seed and the number of steps of each
stage, and the stage that it begins with: the one before, or the mean of several. DATA is the folder that
``data/make_data.sh`` wrote. Every stage learns from ``organic.h5``, and from ``nonbonded.h5`` if it had a second set.
Early stages had fewer structures when the shipped students were trained; the script prints both numbers. If the script
is killed, or its minutes are over, the same command continues it. ``RUNS/NAME`` is the input of ``ship.py``: the
last stage, with the folders of the others in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from average import average

from mlff_core.config import apply_overrides, from_dict, read_toml
from mlff_core.data.hdf5 import Dataset
from mlff_core.errors import MlffError
from mlff_core.training.progress import TerminalReporter
from mlff_core.training.settings import TrainConfig
from mlff_core.training.signals import stopped_by_signals
from mlff_core.training.trainer import Trainer

HERE = Path(__file__).parent


def train(name: str, data: Path, runs: Path, minutes: float | None, overrides: Sequence[str]) -> bool:
    """Train every unfinished stage, and return whether all are finished.

    Parameters
    ----------
    name
        Name of the student.
    data
        Folder with ``organic.h5`` and ``nonbonded.h5``.
    runs
        Folder for the student's folder.
    minutes
        Longest time of this call; None has no limit.
    overrides
        ``"table.key=value"`` each, for every stage.
    """
    ends = None if minutes is None else time.monotonic() + 60.0 * minutes
    recipe = read_toml(HERE / f"{name}.stages.toml")
    stages = recipe["stage"]
    with Dataset(data / "organic.h5") as dataset:
        n_structures = len(dataset)
    folders = [runs / name / f"stage{number}" for number in range(1, len(stages))] + [runs / name]
    for number, stage in enumerate(stages, start=1):
        then = stage["data"]["n_structures"]
        print(f"stage {number} of {len(stages)}: {n_structures:,} structures (then {then:,})", flush=True)
        begin = [folders[one - 1] / "model.pt" for one in stage.get("begins_with", [number - 1]) if one]
        settings = settings_of(name, stage, data)
        settings["out"] = str(folders[number - 1])
        if begin:
            settings["model"]["init_from"] = str(mean(begin, folders[number - 1] / "begin.pt"))
        config = from_dict(TrainConfig, apply_overrides(settings, overrides))
        if ends is not None:
            left = max((ends - time.monotonic()) / 60.0, 0.001)
            config = replace(config, stop=replace(config.stop, max_minutes=left))
        trainer = Trainer(config, TerminalReporter())
        with stopped_by_signals(trainer):
            result = trainer.fit(resume=True)
        if result.status != "finished":
            return False
    if recipe["average_of"]:
        mean([folders[one - 1] / "model.pt" for one in recipe["average_of"]], runs / name / "average.pt")
    return True


def settings_of(name: str, stage: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """Return the settings of a stage, which ends after its number of steps, not after a number of minutes."""
    settings = read_toml(HERE / f"{name}.toml")
    settings["data"]["path"] = str(data / "organic.h5")
    if stage["second_data"]:
        settings["data"]["replay"] = str(data / "nonbonded.h5")
    else:
        del settings["data"]["replay"], settings["data"]["replay_share"]
    changes = {**stage["settings"], "stop.max_steps": stage["steps"]}
    del changes["stop.budget_minutes"]
    return apply_overrides(settings, [f"{key}={json.dumps(value)}" for key, value in changes.items()])


def mean(models: Sequence[Path], path: Path) -> Path:
    """Return the one model, or ``path`` with the mean of several, which is made once."""
    if len(models) == 1:
        return models[0]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        average(models, path)
    return path


def main() -> None:
    """Read the command line and train."""
    names = sorted(path.name.removesuffix(".stages.toml") for path in HERE.glob("*.stages.toml"))
    parser = argparse.ArgumentParser(description="Train a shipped student again, stage by stage.")
    parser.add_argument("name", choices=names)
    parser.add_argument("data", type=Path, help="folder that make_data.sh wrote")
    parser.add_argument("runs", type=Path, help="folder for the student's folder")
    parser.add_argument("--minutes", type=float, help="longest time of this call")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of each stage",
    )
    asked = parser.parse_args()
    torch.set_flush_denormal(True)  # as `mlff train` does: tiny numbers cost a CPU a fifth of its time
    try:
        finished = train(asked.name, asked.data, asked.runs, asked.minutes, asked.overrides)
    except MlffError as error:
        sys.exit(f"Error: {error}")
    print("finished" if finished else "not finished: give the same command again")


if __name__ == "__main__":
    main()
