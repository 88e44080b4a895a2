"""The rules of the data set file: those that are cheap, checked at every opening, and those that read all values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from mlff_core.data.layout import COLUMNS, ENERGY_UNIT, FORMAT, HESSIAN, LENGTH_UNIT, REQUIRED, SPLITS, VERSION
from mlff_core.data.structure import Array
from mlff_core.errors import InputError
from mlff_core.structures.batch import MAX_ATOMIC_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from mlff_core.data.hessian_rows import HessianRows

    Indices = npt.NDArray[np.int64]


class Labels(Protocol):
    """What is checked: an open data set file, :class:`mlff_core.data.reader.Dataset`."""

    path: Path

    def __len__(self) -> int: ...

    @property
    def split(self) -> Array | None:
        """The part of each structure, shape (n_structures,), no unit."""

    @property
    def molecule_id(self) -> Array:
        """The molecule of each structure, shape (n_structures,), no unit."""

    def has(self, name: str) -> bool:
        """Return whether a column is there."""

    def n_atoms_of(self, indices: Indices) -> Indices:
        """Return the atoms of each structure, shape (n_structures,), no unit."""

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield first and end of pieces that fit into memory."""

    def column(self, name: str, start: int, stop: int) -> Array:
        """Return rows of a column, shape (n, …), in the layout's unit."""

    def hessian_rows(self, indices: Indices) -> HessianRows:
        """Return checked rows of Hessians."""


def check_layout(file: Any, path: str) -> None:
    """Refuse an open HDF5 file that breaks a rule which can be seen without reading atoms.

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
            f"must be whole numbers, one a structure and one more, got {offsets.dtype} of shape {offsets.shape}",
        )
    bounds = offsets[:]
    n_structures, n_atoms = len(bounds) - 1, len(file["atomic_numbers"])
    if bounds[0] != 0:
        refuse("data set 'offsets'", f"must begin at 0, begins at {bounds[0]}")
    falling = np.flatnonzero(np.diff(bounds) <= 0)
    if len(falling):
        refuse("data set 'offsets'", f"must rise, but structure {falling[0]} has {np.diff(bounds)[falling[0]]} atoms")
    if bounds[-1] != n_atoms:
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
        refuse("data sets 'cell' and 'pbc'", "must both be there or both be absent")
    kinds = json.loads(file.attrs["kinds"])
    if int(file["kind"][:].max()) >= len(kinds):
        refuse("data set 'kind'", f"holds code {int(file['kind'][:].max())}, but `kinds` names {len(kinds)}")
    if "smiles" in file and "molecule_id" in file:
        top = int(file["molecule_id"][:].max())
        if top >= len(file["smiles"]):
            refuse("data set 'molecule_id'", f"points at row {top} of 'smiles', which has {len(file['smiles'])}")


def _check_hessian(group: Any, atoms: Array, refuse: Any) -> None:
    """Refuse rows of Hessians that fit no structure; ``atoms`` is their number in each, shape (n_structures,)."""
    for name in HESSIAN:
        if name not in group:
            refuse(f"data set 'hessian/{name}'", "is missing; the group has structure, offsets, direction and product")
    structure, bounds = group["structure"][:], group["offsets"][:]
    if len(bounds) != len(structure) + 1 or bounds[0] != 0:
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
    attributes = file.attrs
    if attributes.get("format") != FORMAT:
        refuse("attribute 'format'", f"must be {FORMAT!r}, is {attributes.get('format')!r}; this is another file")
    if int(attributes.get("version", 0)) != VERSION:
        refuse("attribute 'version'", f"must be {VERSION}, is {attributes.get('version')}; use a version that knows it")
    for name, unit in (("length_unit", LENGTH_UNIT), ("energy_unit", ENERGY_UNIT)):
        if attributes.get(name) != unit:
            refuse(f"attribute {name!r}", f"must be {unit!r}, is {attributes.get(name)!r}; convert the values")
    try:
        kinds = json.loads(attributes["kinds"])
    except (KeyError, ValueError, TypeError):
        kinds = None
    if not isinstance(kinds, list) or not all(isinstance(name, str) for name in kinds):
        refuse("attribute 'kinds'", "must be a JSON list with a name for each code in 'kind'")


def check_labels(dataset: Labels) -> None:
    """Refuse a data set with a value that cannot be right; reads all of it, in blocks.

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
    if dataset.has("hessian"):
        for start in range(0, len(dataset), 4096):
            dataset.hessian_rows(np.arange(start, min(start + 4096, len(dataset))))
    if dataset.split is not None:
        check_split(dataset.split, dataset.molecule_id, str(dataset.path))


def check_values(dataset: Labels, name: str, values: Array, wanted: Indices) -> None:
    """Refuse values that cannot be right.

    Parameters
    ----------
    dataset
        Where they come from.
    name
        Of the HDF5 data set.
    values
        Its rows of the wanted structures, shape (n_structures, …) or (n_atoms, …), in the layout's unit.
    wanted
        Which structures these are, shape (n_structures,), no unit.

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


def check_hessian_values(dataset: Labels, rows: HessianRows, wanted: Indices) -> None:
    """Refuse rows of Hessians that are not finite.

    Parameters
    ----------
    dataset
        Where they come from.
    rows
        Of the wanted structures.
    wanted
        Which structures these are, shape (n_structures,), no unit.

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


def _refuse_value(dataset: Labels, name: str, rule: str, structure: int, value: Array) -> NoReturn:
    raise InputError(
        f"{dataset.path}: data set {name!r}: {rule}, but structure {structure} holds {np.asarray(value).tolist()}; "
        "drop or label it again"
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
        return values >= len(SPLITS), "must be 0 train, 1 validation or 2 test"
    if name == "molecule_id":
        return values < 0, "must not be negative"
    return np.zeros(len(values), dtype=bool), ""


def check_split(split: Array, molecule_id: Array, path: str) -> None:
    """Refuse a split that a molecule straddles.

    Parameters
    ----------
    split, molecule_id
        Of each structure, shape (n_structures,), no unit.
    path
        For the message.

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
            f"{path}: data set 'split': structures of a molecule never straddle a split, but those of molecule "
            f"{int(molecule_id[order][torn[0]])} do; split again with `mlff data split`"
        )
