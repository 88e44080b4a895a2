"""Add trained students to the shipped ones: ``python examples/train/ship.py RUNS DATA [NAME …]``.

For each folder ``RUNS/NAME`` that ``mlff train`` wrote: judges its ``model.pt`` on ``test_scaffolds.h5`` and
``test_liquids.h5`` of the folder DATA, writes the errors with their intervals on the card, exports ONNX and
TorchScript, and enters all in ``mlff_core/models/shipped/index.json``. The errors in full, the six panels and the log
of every stage go to ``docs/students``. The settings of every stage go to ``NAME.stages.toml`` beside this script: the
recipe for ``stages.py``. ``docs/make_students_page.py`` makes the page from both. A student that learned in
stages has the run folders of the earlier ones inside its own: ``RUNS/NAME/stage1``, ``RUNS/NAME/stage2`` … Where there
is ``RUNS/NAME/average.pt``, made of their models by ``average.py``, it is shipped instead of ``model.pt``.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from mlff_core.config import load_config, read_toml, to_dict
from mlff_core.data.hdf5 import Dataset
from mlff_core.errors import InputError
from mlff_core.judging.evaluate import evaluate
from mlff_core.judging.outcome import Evaluation
from mlff_core.judging.report.plots import force_figure, png
from mlff_core.models.checkpoint import file_sha256, load_checkpoint, save_checkpoint
from mlff_core.models.opening import load
from mlff_core.plugins import host as plugins
from mlff_core.training.settings import TrainConfig

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "mlff_core" / "models" / "shipped"
PAGES = ROOT / "docs" / "students"
RECIPES = Path(__file__).parent
NAMES = sorted(path.stem for path in RECIPES.glob("organic-*.toml") if not path.stem.endswith(".stages"))
"""The students with settings here, in the order of the index of shipped files."""
TESTS = ("test_scaffolds", "test_liquids")
ON_CARD = (
    "force_r2", "force_mae", "force_rmse", "force_angle_mean_deg",
    "energy_mae_mev_per_atom", "energy_rmse_mev_per_atom", "relative_energy_mae_mev_per_atom",
    "stress_mae", "pressure_error_mean_bar",
)  # fmt: skip


def ship(run: Path, name: str, tests: Sequence[Dataset]) -> dict[str, object]:
    """Write all shipped files of one student; return its row in the index."""
    model = run / "average.pt" if (run / "average.pt").exists() else run / "model.pt"
    found = {dataset.path.stem: evaluate(load(model, device="cpu"), dataset) for dataset in tests}
    network, card = load_checkpoint(model)
    metrics = {**card.metrics, **{test: on_card(evaluation) for test, evaluation in found.items()}}
    path = save_checkpoint(SHIPPED / f"{name}.pt", network, replace(card, name=name, metrics=metrics))
    PAGES.mkdir(parents=True, exist_ok=True)
    for test, evaluation in found.items():
        metrics = evaluation.to_json()
        del metrics["seconds"]  # depends on this machine
        (PAGES / f"{name}.{test}.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (PAGES / f"{name}.png").write_bytes(png(force_figure(found[TESTS[0]])))
    write_stages(run, name, card.training.get("average_of", ()))
    return {
        "name": name,
        "file": path.name,
        "sha256": file_sha256(path),
        "exports": exported(path),
    }


def exported(path: Path) -> list[dict[str, str]]:
    """Write the ONNX and TorchScript files beside a shipped model; return their rows in the index."""
    rows = []
    for kind in ("onnx", "torchscript"):
        exporter = plugins.exporter(kind)
        student = load(path, device="cpu", kernel="reference", guard="off")
        report = exporter.export(student, path.with_suffix(exporter.suffix))
        rows.append({"file": report.path.name, "sha256": file_sha256(report.path)})
    return rows


def write_stages(
    run: Path, name: str, averaged: Sequence[str], *, recipes: Path = RECIPES, pages: Path = PAGES
) -> None:
    """Write the recipe of a student to one folder, and the logs of all its stages to another.

    ``averaged`` are the hashes of the models that are averaged for shipping.
    """
    earlier = sorted(run.glob("stage*"), key=lambda folder: int(folder.name.removeprefix("stage")))
    folders = dict(enumerate((*earlier, run), start=1))
    hashes = {file_sha256(folder / "model.pt"): number for number, folder in folders.items()}
    recipe = {
        "average_of": [hashes[one] for one in averaged],
        "stage": [stage_of(folder, name, number, hashes) for number, folder in folders.items()],
    }
    (recipes / f"{name}.stages.toml").write_text(tomli_w.dumps(recipe))
    for old in pages.glob(f"{name}.stage*.csv"):
        old.unlink()
    for number, folder in folders.items():
        shutil.copyfile(folder / "log.csv", pages / f"{name}.stage{number}.csv")


def stage_of(folder: Path, name: str, number: int, hashes: Mapping[str, int]) -> dict[str, Any]:
    """Return the data of a run, and its settings that differ from the student's TOML file.

    Paths are left out: data are identified by their hashes, and a stage starts with the weights of the previous one
    unless ``begins_with`` gives another.
    """
    _, card = load_checkpoint(folder / "model.pt")
    usual = flat(to_dict(load_config(TrainConfig, RECIPES / f"{name}.toml")))
    used = {"model.core": 0.0, **flat(read_toml(folder / "config.toml"))}  # earlier networks had no core
    left_out = {"out", "data.path", "data.replay", "model.init_from", "card.description", "card.limits"}
    replay = card.dataset.get("replay", {})
    if not replay:
        left_out |= {"data.replay_share", "loss.stress_weight"}
    differing = {key: value for key, value in used.items() if key not in left_out and usual.get(key) != value}
    begun = begins_with(folder, card.parent, hashes)
    is_usual = begun == ([number - 1] if number > 1 else [])
    return {
        **({} if is_usual else {"begins_with": begun}),
        "steps": steps_of(folder),
        "data": {key: card.dataset[key] for key in ("n_structures", "sha256")},
        "second_data": {key: replay[key] for key in ("n_structures", "sha256") if replay},
        "settings": dict(sorted(differing.items())),
    }


def steps_of(folder: Path) -> int:
    """Return the number of steps of a run from its log."""
    with (folder / "log.csv").open() as log:
        return max(int(row["step"]) for row in csv.DictReader(log))


def begins_with(folder: Path, parent: str, hashes: Mapping[str, int]) -> list[int]:
    """Return the stage, or the stages of the mean, that gave a run its initial weights, or none."""
    if not parent:
        return []
    if parent in hashes:
        return [hashes[parent]]
    begin = Path(read_toml(folder / "config.toml")["model"]["init_from"])
    averaged = load_checkpoint(begin)[1].training.get("average_of", ())
    if file_sha256(begin) != parent or not averaged or not set(averaged) <= set(hashes):
        raise InputError(f"{folder} started with {begin}, which is neither one of its stages nor a mean of them")
    return [hashes[one] for one in averaged]


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def on_card(evaluation: Evaluation) -> dict[str, object]:
    """Return the card's entry for a test set."""
    metrics = evaluation.to_json()
    stated = [key for key in ON_CARD if metrics[key] is not None]
    data = {"name": Path(metrics["data"]["file"]).stem, "sha256": metrics["data"]["sha256"]}
    return {
        "data": {**data, "n_structures": metrics["n_structures"]},
        "interval_definition": metrics["interval_definition"],
        **{key: {"value": metrics[key], "interval": metrics["intervals"][key]} for key in stated},
    }


def main(runs: str, data: str, *names: str) -> None:
    index = SHIPPED / "index.json"
    rows = {row["name"]: row for row in json.loads(index.read_text())["models"]}
    with ExitStack() as stack:
        tests = [stack.enter_context(Dataset(Path(data) / f"{test}.h5")) for test in TESTS]
        for name in names or NAMES:
            rows[name] = ship(Path(runs) / name, name, tests)
            print(f"shipped {name}")
    ordered = [rows[name] for name in NAMES if name in rows]
    index.write_text(json.dumps({"models": ordered}, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
