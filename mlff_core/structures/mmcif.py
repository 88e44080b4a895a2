"""Molecules in mmCIF files: coordinates in Å, with formal charges, which ASE's reader of crystals does not know.

The columns are those of the PDBx/mmCIF dictionary, https://mmcif.wwpdb.org: ``_atom_site`` of structures and
``_chem_comp_atom`` of components, whose ideal coordinates are taken.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers

from mlff_core.errors import InputError
from mlff_core.structures.budget import lines

if TYPE_CHECKING:
    from ase import Atoms

MISSING = (".", "?")


def is_mmcif(path: Path) -> bool:
    """Return whether a file is an mmCIF file of molecules, compressed or not, by its ending and its columns."""
    if not path.name.lower().endswith((".cif", ".mmcif", ".cif.gz", ".mmcif.gz")):
        return False
    return any(
        line.strip().lower().startswith(("_atom_site.", "_chem_comp_atom.")) for line in lines(path, errors="replace")
    )


def read_mmcif(path: Path) -> list[Atoms]:
    """Return the models and components of an mmCIF file, as molecules without a cell.

    ``info["charge"]`` is the sum of the formal charges if the file has some. Of alternate locations the first is taken.

    Raises
    ------
    InputError
        A coordinate, an element or a charge cannot be read; the message names it.
    """
    from ase.io.cif import parse_cif

    text = "\n".join(lines(path, errors="replace")) + "\n"
    frames: list[Atoms] = []
    for block in parse_cif(io.StringIO(text), reader="ase"):
        where = f"{path}, block {block.name}"
        if "_atom_site.cartn_x" in block:
            frames += _models(block, where)
        elif "_chem_comp_atom.type_symbol" in block:
            kind = "pdbx_model_cartn_{}_ideal"
            if f"_chem_comp_atom.{kind.format('x')}" not in block:
                kind = "model_cartn_{}"
            columns = [_column(block, f"_chem_comp_atom.{kind.format(axis)}", where) for axis in "xyz"]
            symbols = _column(block, "_chem_comp_atom.type_symbol", where)
            frames.append(_atoms(symbols, columns, block.get("_chem_comp_atom.charge"), range(len(symbols)), where))
    return frames


def _models(block: Any, where: str) -> list[Atoms]:
    columns = [_column(block, f"_atom_site.cartn_{axis}", where) for axis in "xyz"]
    symbols = _column(block, "_atom_site.type_symbol", where)
    models = _as_list(block.get("_atom_site.pdbx_pdb_model_num", [1] * len(symbols)))
    places = [str(place) for place in _as_list(block.get("_atom_site.label_alt_id", ["."] * len(symbols)))]
    first = next((place for place in places if place not in MISSING), ".")
    rows: dict[Any, list[int]] = {}
    for k, model in enumerate(models):
        if places[k] in (*MISSING, first):
            rows.setdefault(model, []).append(k)
    charges = block.get("_atom_site.pdbx_formal_charge")
    return [_atoms(symbols, columns, charges, chosen, where) for chosen in rows.values()]


def _column(block: Any, name: str, where: str) -> list[Any]:
    if name not in block:
        raise InputError(f"{where} has no column {name}; check the file")
    return _as_list(block[name])


def _as_list(value: Any) -> list[Any]:
    # A block of one atom has plain values instead of columns.
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _atoms(symbols: list[Any], columns: list[list[Any]], charges: Any, rows: Sequence[int], where: str) -> Atoms:
    from ase import Atoms

    try:
        numbers = [atomic_numbers[str(symbols[k]).capitalize()] for k in rows]
        positions = np.array([[float(column[k]) for column in columns] for k in rows])
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: an element or a coordinate cannot be read: {error}; correct it") from None
    atoms = Atoms(numbers=numbers, positions=positions)
    formal = [] if charges is None else [value for k in rows if (value := _as_list(charges)[k]) not in MISSING]
    try:
        whole = [int(str(value)) for value in formal]  # int(-0.5) would be 0
    except ValueError as error:
        raise InputError(f"{where}: formal charges must be whole numbers of e: {error}; correct them") from None
    if whole:
        atoms.info["charge"] = sum(whole)
    return atoms
