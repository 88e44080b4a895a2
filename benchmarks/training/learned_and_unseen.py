"""Errors of the shipped students on molecules of their training set, and on unseen scaffolds.

``python -m benchmarks learned_and_unseen molecules.h5 [--molecules 600]``, where the set is that of
``examples/train/data/make_data.sh``: whole molecules are drawn, and force errors are compared with those of
``docs/students`` by kind of geometry. If both are the same, more molecules would not help, but more steps or a larger
network would; if only molecules of the training set have small errors, the network overfits.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.command import ROOT, parser, shipped_students, write
from mlff_core import load
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.judging.evaluate import evaluate

UNSEEN = ROOT / "docs" / "students"
METRICS = ("force_r2", "force_mae", "energy_mae_mev_per_atom")


def draw(path: Path, n_molecules: int, to: Path) -> int:
    """Write all structures of some molecules of a set to a new one and return their number."""
    with Dataset(path) as data:
        order = np.random.default_rng(3).permutation(np.unique(data.molecule_id))
        rows = np.flatnonzero(np.isin(data.molecule_id, order[:n_molecules]))
        write_dataset(to, [replace(s, smiles=None, split=None) for s in data.structures(rows)], teacher=data.teacher)
    return len(rows)


def metrics_of(found: dict[str, Any], kinds: list[str]) -> dict[str, Any]:
    """Return the compared metrics: of all structures, and the force MAE by kind of geometry, eV/Å."""
    by_kind = {kind: found["by_kind"][kind]["force_mae"] for kind in kinds}
    return {**{key: found[key] for key in METRICS}, "force_mae_by_kind": by_kind}


def main() -> None:
    options = parser(__doc__, "learned_and_unseen.json")
    options.add_argument("learned", type=Path)
    options.add_argument("--molecules", type=int, default=600)
    arguments = options.parse_args()
    result: dict[str, Any] = {"molecules": arguments.molecules, "students": {}}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "learned.h5"
        result["structures"] = draw(arguments.learned, arguments.molecules, path)
        with Dataset(path) as data:
            for name in shipped_students():
                unseen = json.loads((UNSEEN / f"{name}.test_scaffolds.json").read_text())
                learned = evaluate(load(name, device="cpu"), data).to_json()
                kinds = [kind for kind in unseen["by_kind"] if kind in learned["by_kind"]]
                result["students"][name] = metrics_of(learned, kinds)
                print(name, "learned", json.dumps(result["students"][name], indent=1))
                print(name, "unseen", json.dumps(metrics_of(unseen, kinds), indent=1), flush=True)
    write(arguments.out, result)


if __name__ == "__main__":
    main()
