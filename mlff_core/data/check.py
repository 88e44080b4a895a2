"""Checks of a data set file: cheap ones of the layout at every opening, and ones that read all values."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mlff_core.data.layout import COLUMNS, ENERGY_UNIT, FORMAT, HESSIAN, LENGTH_UNIT, READABLE, REQUIRED, SPLITS
from mlff_core.data.molecules import check_molecules
from mlff_core.data.open_set import Indices, OpenSet
from mlff_core.data.overlap import check_apart
from mlff_core.data.structure import Array
from mlff_core.errors import InputError
from mlff_core.structures.batch import MAX_ATOMIC_NUMBER

if TYPE_CHECKING:
    from mlff_core.data.hessian_rows import HessianRows


def check_layout(file: Any, path: str) -> None:
    """Check the layout of an open HDF5 file, without reading values of atoms.

    Raises
    ------
    InputError
        Names the data set or attribute and the rule.
    """

    def refuse(name: str, rule: str) -> NoReturn:
        raise InputError(f"{path}: {name}: {rule}")

    _check_attributes(file, refuse)
    for name in ("offsets", *REQUIRED):
        if name not in file:
            refuse(f"data set {name!r}", "is missing; every data set file has it")
    offsets = file["offsets"]
    if offsets.ndim != 1 or offsets.dtype.kind != "i" or len(offsets) < 2:
        refuse(
            "data set 'offsets'",
            f"must be integers, one per structure and one more, got {offsets.dtype} of shape {offsets.shape}",
        )
    bounds = offsets[:]
    n_structures, n_atoms = len(bounds) - 1, len(file["atomic_numbers"])
    if bounds[0] != 0:
        refuse("data set 'offsets'", f"must begin at 0, begins at {bounds[0]}")
    falling = np.flatnonzero(np.diff(bounds) <= 0)
    if len(falling):
        refuse("data set 'offsets'", f"must rise, but structure {falling[0]} has {np.diff(bounds)[falling[0]]} atoms")
    if bounds[-1] != n_atoms or bounds.max() > n_atoms:  # differences of damaged values may overflow
        refuse("data set 'offsets'", f"must end at the number of atoms, {n_atoms}, ends at {bounds[-1]}")
    for name, column in COLUMNS.items():
        if name not in file:
            continue
        wanted = (n_atoms if column.per == "atom" else n_structures, *column.shape)
        if file[name].shape != wanted:
            refuse(f"data set {name!r}", f"must have shape {wanted}, has {file[name].shape}")
        kind = np.dtype(column.dtype).kind
        if file[name].dtype.kind not in {"f": "f", "i": "iu", "u": "iu", "b": "biu"}[kind]:
            refuse(f"data set {name!r}", f"must be of a type like {np.dtype(column.dtype)}, is {file[name].dtype}")
    if "hessian" in file:
        _check_hessian(file["hessian"], np.diff(bounds), refuse)
    if ("cell" in file) != ("pbc" in file):
        refuse("data sets 'cell' and 'pbc'", "must both be present or both be absent")
    kind, n_kinds = file["kind"][:], len(file.json("kinds"))
    if not 0 <= int(kind.min()) <= int(kind.max()) < n_kinds:
        code = int(kind.min()) if int(kind.min()) < 0 else int(kind.max())
        refuse("data set 'kind'", f"holds code {code}, but `kinds` names {n_kinds}")
    if "smiles" in file:
        smiles = file["smiles"]
        if smiles.ndim != 1 or not smiles.is_text:
            refuse("data set 'smiles'", f"must be text, one per molecule, is {smiles.dtype} of shape {smiles.shape}")
        if "molecule_id" in file:
            molecules = file["molecule_id"][:]
            row = int(molecules.min()) if int(molecules.min()) < 0 else int(molecules.max())
            if not 0 <= row < len(smiles):
                refuse("data set 'molecule_id'", f"points at row {row} of 'smiles', which has {len(smiles)}")


def _check_hessian(group: Any, atoms: Array, refuse: Any) -> None:
    """Check that rows of Hessians fit their structures; ``atoms`` counts each structure's atoms, (n_structures,)."""
    for name in HESSIAN:
        if name not in group:
            refuse(f"data set 'hessian/{name}'", "is missing; the group has structure, offsets, direction and product")
    for name in ("structure", "offsets"):
        if group[name].ndim != 1 or group[name].dtype.kind not in "iu":
            refuse(f"data set 'hessian/{name}'", f"must be integers, is {group[name].dtype}, {group[name].shape}")
    structure, bounds = group["structure"][:].astype(np.int64), group["offsets"][:].astype(np.int64)
    if len(bounds) != len(structure) + 1 or bounds[0] != 0 or bounds.min() < 0:
        refuse(
            "data set 'hessian/offsets'", f"must begin at 0 and have {len(structure) + 1} numbers, has {len(bounds)}"
        )
    if len(structure) and not 0 <= structure.min() <= structure.max() < len(atoms):
        refuse("data set 'hessian/structure'", f"must lie in 0–{len(atoms) - 1}, goes up to {structure.max()}")
    wrong = np.flatnonzero(np.diff(bounds) != atoms[structure])
    if len(wrong):
        row = int(wrong[0])
        refuse(
            "data set 'hessian/offsets'",
            f"row {row} must have the {atoms[structure[row]]} atoms of structure {structure[row]}, "
            f"has {np.diff(bounds)[row]}",
        )
    for name in ("direction", "product"):
        if group[name].shape != (int(bounds[-1]), 3) or group[name].dtype.kind != "f":
            refuse(f"data set 'hessian/{name}'", f"must have shape {(int(bounds[-1]), 3)}, has {group[name].shape}")


def _check_attributes(file: Any, refuse: Any) -> None:
    for name, wanted, remedy in (
        ("format", FORMAT, "this is another kind of file"),
        ("length_unit", LENGTH_UNIT, "convert the values"),
        ("energy_unit", ENERGY_UNIT, "convert the values"),
    ):
        value = file.attribute(name)
        if type(value) is not type(wanted) or value != wanted:
            refuse(f"attribute {name!r}", f"must be {wanted!r}, is {repr(value)[:60]}; {remedy}")
    version = file.attribute("version")
    if type(version) is not int or version not in READABLE:
        refuse(
            "attribute 'version'",
            f"must be {' or '.join(map(str, READABLE))}, is {repr(version)[:60]}; use a version of mlff-hub that reads "
            "it",
        )
    if ("fragment" in file) != ("fragment_charge" in file):
        refuse("data sets 'fragment' and 'fragment_charge'", "must both be present or both be absent")
    for name in ("teacher", "created"):
        file.json(name)
    kinds = file.json("kinds")
    if not isinstance(kinds, list) or not all(isinstance(name, str) for name in kinds):
        refuse("attribute 'kinds'", "must be a JSON list with a name for each code in 'kind'")


def check_labels(dataset: OpenSet) -> None:
    """Check every value of a data set; all of it is read, in blocks.

    Raises
    ------
    InputError
        Names the data set, the rule and the first structure that breaks it.
    """
    present = [name for name in COLUMNS if dataset.has(name)]
    for start, stop in dataset.blocks():
        block = np.arange(start, stop)
        for name in present:
            check_values(dataset, name, dataset.column(name, start, stop), block)
        if dataset.has("pbc"):
            lengths = np.linalg.norm(dataset.column("cell", start, stop), axis=2)
            bad = dataset.column("pbc", start, stop).astype(bool) & (lengths == 0)
            if bad.any():
                structure = start + int(np.flatnonzero(bad.any(axis=1))[0])
                raise InputError(
                    f"{dataset.path}: data set 'pbc': periodic along a lattice vector of length zero in structure "
                    f"{structure}; give the cell or switch pbc off"
                )
        if dataset.has("fragment"):
            _check_molecules(dataset, start, stop)
        check_apart(dataset, start, stop)
    if dataset.has("hessian"):
        for start in range(0, len(dataset), 4096):
            dataset.hessian_rows(np.arange(start, min(start + 4096, len(dataset))))
    if dataset.split is not None:
        check_split(dataset.split, dataset.molecule_id, str(dataset.path))


def _check_molecules(dataset: OpenSet, start: int, stop: int) -> None:
    """Check the molecules of structures start … stop − 1 of a data set that has these columns."""
    bounds = dataset.offsets[start : stop + 1] - dataset.offsets[start]
    fragment, charges = (dataset.column(name, start, stop) for name in ("fragment", "fragment_charge"))
    totals = dataset.column("charge", start, stop) if dataset.has("charge") else np.zeros(stop - start, dtype=np.int64)
    for k, (first, last) in enumerate(pairwise(bounds)):
        own = fragment[first:last]
        if (own == -1).all():
            continue
        try:
            check_molecules(own, charges[first:last], int(totals[k]))
        except InputError as error:
            raise InputError(f"{dataset.path}: data set 'fragment': structure {start + k}: {error}") from error


def check_values(dataset: OpenSet, name: str, values: Array, wanted: Indices) -> None:
    """Check values of some structures.

    Parameters
    ----------
    dataset
        The data set they come from.
    name
        Name of the HDF5 data set.
    values
        Its rows for the wanted structures, shape (n_structures, …) or (n_atoms, …), in the layout's unit.
    wanted
        Indices of these structures, shape (n_structures,).

    Raises
    ------
    InputError
        Names the data set, the rule and the first of the structures that breaks it.
    """
    bad, rule = _broken(name, values)
    if not bad.any():
        return
    row = place = int(np.flatnonzero(bad.reshape(len(values), -1).any(axis=1))[0])
    if COLUMNS[name].per == "atom":
        place = int(np.searchsorted(np.cumsum(dataset.n_atoms_of(wanted)), row, side="right"))
    _refuse_value(dataset, name, rule, int(wanted[place]), values[row])


def check_hessian_values(dataset: OpenSet, rows: HessianRows, wanted: Indices) -> None:
    """Check that rows of Hessians are finite.

    Parameters
    ----------
    dataset
        The data set they come from.
    rows
        Rows of the wanted structures.
    wanted
        Indices of these structures, shape (n_structures,).

    Raises
    ------
    InputError
        Names the data set and the first of the structures.
    """
    for name in ("direction", "product"):
        values = getattr(rows, name).numpy()
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            atom = int(np.flatnonzero(bad)[0])
            owner = wanted[rows.system.numpy()]
            row = int(np.searchsorted(np.cumsum(dataset.n_atoms_of(owner)), atom, side="right"))
            _refuse_value(dataset, f"hessian/{name}", "must be finite", int(owner[row]), values[atom])


def _refuse_value(dataset: OpenSet, name: str, rule: str, structure: int, value: Array) -> NoReturn:
    raise InputError(
        f"{dataset.path}: data set {name!r}: {rule}, but structure {structure} holds {np.asarray(value).tolist()}; "
        "remove this structure or label it again"
    )


def _broken(name: str, values: Array) -> tuple[Array, str]:
    if values.dtype.kind == "f":
        if name == "weight":
            return ~(np.isfinite(values) & (values >= 0)), "must be finite and not negative"
        return ~np.isfinite(values), "must be finite"
    if name == "atomic_numbers":
        return (values < 1) | (values > MAX_ATOMIC_NUMBER), f"must lie in 1–{MAX_ATOMIC_NUMBER}"
    if name == "spin_multiplicity":
        return values < 1, "must be at least 1"
    if name == "split":
        return (values < 0) | (values >= len(SPLITS)), "must be 0 train, 1 validation or 2 test"
    if name == "fragment":
        return values < -1, "must be the number of a molecule, or -1"
    if name == "molecule_id":
        return values < 0, "must not be negative"
    return np.zeros(len(values), dtype=bool), ""


def check_split(split: Array, molecule_id: Array, path: str) -> None:
    """Check that all structures of a molecule are in the same split.

    Parameters
    ----------
    split, molecule_id
        Split code and molecule of each structure, shape (n_structures,).
    path
        File, for the message.

    Raises
    ------
    InputError
        Names the molecule.
    """
    order = np.argsort(molecule_id, kind="stable")
    same = np.diff(molecule_id[order]) == 0
    torn = np.flatnonzero(same & (np.diff(split[order].astype(np.int64)) != 0))
    if len(torn):
        raise InputError(
            f"{path}: data set 'split': all structures of a molecule must be in the same split, but those of molecule "
            f"{int(molecule_id[order][torn[0]])} are not; split again with `mlff data split`"
        )
