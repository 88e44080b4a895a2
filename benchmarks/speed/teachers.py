"""Processor time of each teacher for an atom.

    OMP_NUM_THREADS=1 python -m benchmarks teachers [NAME …] [--seconds 20] [--out FILE]

One structure at a time, energy and forces of an ethanol molecule (9 atoms), and with the stress of a copper crystal (32
atoms), both rattled by 0.03 Å, on one thread. Teachers that are not installed, need a weights file or do not know the
elements are left out, and keep the numbers of an earlier run. ``mlff teachers list`` shows what the file has.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk, molecule

from benchmarks.command import ROOT, parser, use_threads, write
from mlff_core.errors import MlffError
from mlff_core.plugins.host import host
from mlff_core.plugins.teacher import Teacher
from mlff_core.potentials.interface import Potential
from mlff_core.structures.reading import batch_from_atoms

RESULT = ROOT / "mlff_plugins" / "teachers" / "speed.json"
SYSTEMS = {
    "molecule": molecule("CH3CH2OH"),
    "crystal": bulk("Cu", "fcc", 3.61, cubic=True).repeat(2),
}


def milliseconds(potential: Potential, atoms: Atoms, seconds: float) -> float:
    """Return the median processor time, ms, for an atom; at least two evaluations after the first."""
    want = {"energy", "forces"} | ({"stress"} if atoms.pbc.any() else set())
    spent: list[float] = []
    while len(spent) < 3 or sum(spent) < seconds:
        moved = atoms.copy()
        moved.rattle(0.03, seed=len(spent))
        batch = batch_from_atoms(moved)
        start = time.process_time()
        potential.predict(batch, want=want)
        spent.append(time.process_time() - start)
    return 1e3 * statistics.median(spent[1:]) / len(atoms)


def measured(teacher: Teacher, seconds: float) -> dict[str, float]:
    """Return the time of each system that the teacher supports; empty where it cannot be loaded."""
    found: dict[str, float] = {}
    try:
        potential = teacher.load({"device": "cpu"} if "device" in teacher.options else {})
    except MlffError as error:
        print(f"{teacher.name}: left out: {error}")
        return found
    for system, atoms in SYSTEMS.items():
        known = set(atoms.numbers.tolist()) <= set(potential.card.elements)
        if known and (not atoms.pbc.any() or "stress" in potential.supports):
            try:
                found[system] = round(milliseconds(potential, atoms, seconds), 3)
            except MlffError as error:
                print(f"{teacher.name}, {system}: left out: {error}")
    return found


def main() -> None:
    options = parser(__doc__)
    options.set_defaults(out=RESULT)
    options.add_argument("names", nargs="*", help="teachers; all by default")
    options.add_argument("--seconds", type=float, default=20.0, help="for each teacher and system")
    arguments = options.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("set OMP_NUM_THREADS=1 first: the teachers read it when they are imported")
    use_threads(1)
    path: Path = arguments.out
    rows: dict[str, Any] = json.loads(path.read_text())["ms_per_atom"] if path.is_file() else {}
    for teacher in host().providers("teacher"):
        if not isinstance(teacher, Teacher) or (arguments.names and teacher.name not in arguments.names):
            continue
        if found := measured(teacher, arguments.seconds):
            rows[teacher.name] = found
            print(teacher.name, found)
            write(path, {"ms_per_atom": rows})
