"""Interaction energies in the databases of Psi4, such as ``S66.py`` and ``SSI.py`` of Debian's ``psi4-data``.

A database is a Python file. It is read as text, and nothing in it is run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlff_core.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

_PLAIN = r"\(?\s*dbse,\s*'?(?P<plain>[^'\s)]+)'?\s*\)"
_ENERGY = re.compile(
    rf"^(?P<table>BIND\w*)\['(?:%s-%s'\s*%\s*{_PLAIN}|%s-(?P<inside>[^']+)'\s*%\s*\(?\s*dbse\s*\)?)\s*\]\s*=\s*"
    r"(?P<value>[-+]?\d*\.?\d+)",
    re.MULTILINE,
)
_DEFAULT = re.compile(r"^BIND\s*=\s*(BIND_\w+)", re.MULTILINE)
_GEOMETRY = re.compile(
    rf"^GEOS\['%s-%s-dimer'\s*%\s*{_PLAIN}\s*\]\s*=\s*qcdb\.Molecule\(\"\"\"(?P<text>.*?)\"\"\"",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(rf"^TAGL\['%s-%s'\s*%\s*{_PLAIN}\s*\]\s*=\s*\"\"\"\s*(?P<text>.*?)\s*\"\"\"", re.MULTILINE)
_ATOM = re.compile(r"^\s*([A-Z][a-z]?)((?:\s+[-+]?\d+\.\d+){3})\s*$", re.MULTILINE)
_STATE = re.compile(r"^\s*([-+]?\d+)\s+(\d+)\s*$", re.MULTILINE)
_DISTANCE = re.compile(r"(.+)-(\d+\.\d+)")


class Pair(NamedTuple):
    """A pair of a database: its name, title, two molecules with ``info["charge"]``, e, and interaction in kcal/mol."""

    name: str
    title: str
    parts: tuple[Atoms, Atoms]
    reference_kcal_mol: float
    scaling: float


def is_database(path: str | Path) -> bool:
    """Return whether a file has the ending of a database."""
    return Path(path).suffix == ".py"


def read_pairs(path: str | Path) -> list[Pair]:
    """Return the pairs of a database in its order, with its best reference energies.

    The scaling is the distance in the name divided by that of the lowest energy of the same pair, 1 where a name has no
    distance.

    Raises
    ------
    InputError
        The file is missing, or holds no pairs of molecules in Psi4's form.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; unpack Debian's psi4-data and give a file of its folder databases")
    text = path.read_text(encoding="utf-8", errors="replace")
    default = _DEFAULT.findall(text)
    table = default[-1] if default else "BIND"
    energies = {
        found["plain"] or found["inside"]: float(found["value"])
        for found in _ENERGY.finditer(text)
        if found["table"] == table
    }
    titles = {found["plain"]: found["text"] for found in _TITLE.finditer(text)}
    pairs = []
    for found in _GEOMETRY.finditer(text):
        name, blocks = found["plain"], found["text"].split("--")
        if name not in energies or len(blocks) != 2:
            continue
        first, second = (_molecule(path, name, block) for block in blocks)
        pairs.append(Pair(name, titles.get(name, name), (first, second), energies[name], _scaling(name, energies)))
    if pairs and not any(pair.reference_kcal_mol for pair in pairs):
        raise InputError(f"{path} holds geometries, but no reference energies; give another database, such as S66.py")
    if not pairs:
        raise InputError(f"{path} holds no pairs of molecules in the form of Psi4's databases, such as S66.py")
    return pairs


def _molecule(path: Path, name: str, block: str) -> Atoms:
    from ase import Atoms

    rows = [(symbol, [float(x) for x in position.split()]) for symbol, position in _ATOM.findall(block)]
    states = _STATE.findall(block)
    if not rows or len(states) > 1:
        raise InputError(f"{path}: the geometry of {name} is not that of two molecules in Psi4's form")
    charge, multiplicity = map(int, states[0]) if states else (0, 1)
    atoms = Atoms([symbol for symbol, _ in rows], [position for _, position in rows])
    atoms.info = {"charge": float(charge)}
    if multiplicity != 1:
        atoms.info["spin_multiplicity"] = multiplicity
    return atoms


def _scaling(name: str, energies: dict[str, float]) -> float:
    parts = _DISTANCE.fullmatch(name)
    if parts is None:
        return 1.0
    others = ((_DISTANCE.fullmatch(key), energy) for key, energy in energies.items())
    curve = {float(other[2]): energy for other, energy in others if other and other[1] == parts[1]}
    return round(float(parts[2]) / min(curve, key=lambda distance: curve[distance]), 3)
