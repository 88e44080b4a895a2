"""Put trained students among the shipped ones: ``python examples/train/ship.py RUNS TEST.h5 [NAME …]``.

For each folder ``RUNS/NAME`` that ``mlff train`` wrote: judges its ``model.pt`` on the test set, writes the errors with
their intervals on the card, exports ONNX and TorchScript, and enters all in ``mlff_core/pretrained/index.json``. The
errors in full, the six panels and the log go to ``docs/students``, from which ``docs/make_students_page.py`` makes the
page.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from mlff_core import plugins
from mlff_core.checkpoint import file_sha256, load_checkpoint, save_checkpoint
from mlff_core.data.hdf5 import Dataset
from mlff_core.distill.evaluate import evaluate
from mlff_core.distill.report.figures import force_figure, png
from mlff_core.opening import load

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "mlff_core" / "pretrained"
PAGES = ROOT / "docs" / "students"
NAMES = ("organic-original", "organic-tiny", "organic-ultra-tiny")
ON_CARD = (
    "force_r2", "force_mae", "force_rmse", "force_angle_mean_deg",
    "energy_mae_mev_per_atom", "energy_rmse_mev_per_atom", "relative_energy_mae_mev_per_atom",
)  # fmt: skip


def ship(run: Path, name: str, dataset: Dataset) -> dict[str, object]:
    """Write everything that is shipped of one student; return its row in the index."""
    found = evaluate(load(run / "model.pt", device="cpu"), dataset)
    figures = found.to_json()
    network, card = load_checkpoint(run / "model.pt")
    tested = {
        "data": {
            "name": dataset.path.stem,
            "sha256": figures["data"]["sha256"],
            "n_structures": figures["n_structures"],
        },
        "interval_definition": figures["interval_definition"],
        **{key: {"value": figures[key], "interval": figures["intervals"][key]} for key in ON_CARD},
    }
    path = save_checkpoint(
        SHIPPED / f"{name}.pt",
        network,
        replace(card, name=name, metrics={**card.metrics, dataset.path.stem: tested}),
    )
    exports = []
    for kind in ("onnx", "torchscript"):
        exporter = plugins.exporter(kind)
        exports.append(exporter.export(load(path, device="cpu", kernel="reference"), path.with_suffix(exporter.suffix)))
    PAGES.mkdir(parents=True, exist_ok=True)
    del figures["seconds"]  # of this machine
    (PAGES / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    (PAGES / f"{name}.png").write_bytes(png(force_figure(found)))
    for log in run.glob("*.csv"):  # log.csv, and those of earlier stages
        shutil.copyfile(log, PAGES / f"{name}.{log.name}")
    return {
        "name": name,
        "file": path.name,
        "sha256": file_sha256(path),
        "exports": [{"file": report.path.name, "sha256": file_sha256(report.path)} for report in exports],
    }


def main(runs: str, test_set: str, *names: str) -> None:
    index = SHIPPED / "index.json"
    rows = {row["name"]: row for row in json.loads(index.read_text())["models"]}
    with Dataset(test_set) as dataset:
        for name in names or NAMES:
            rows[name] = ship(Path(runs) / name, name, dataset)
            print(f"shipped {name}")
    ordered = [rows[name] for name in NAMES if name in rows]
    index.write_text(json.dumps({"models": ordered}, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
