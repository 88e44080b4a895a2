"""Writing a data set file: streamed, and renamed to its name only when it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mlff_core.atomic_write import make_folder, part_beside
from mlff_core.data.layout import COLUMNS, ENERGY_UNIT, FORMAT, HESSIAN, LABELS, LENGTH_UNIT, SPLITS, VERSION
from mlff_core.data.structure import Array, LabelledStructure
from mlff_core.errors import InputError

BLOCK = 1024
"""Structures gathered before they are written."""

CHUNK_ATOMS = 4096
"""Atoms in an HDF5 chunk: 48 kB of positions, all three components together, so that a structure lies in one place."""

CHUNK_STRUCTURES = 4096

# Floats barely compress beyond what shuffling and the fastest level give.
_FILTERS = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def write_dataset(
    path: str | Path,
    structures: Iterable[LabelledStructure],
    *,
    teacher: Mapping[str, Any] | None = None,
    kinds: Sequence[str] | None = None,
    smiles: Sequence[str] | None = None,
    created: Mapping[str, Any] | None = None,
    license: str = "",  # the layout's name for it
) -> int:
    """Write structures to a data set file and return their number.

    The iterable is consumed in blocks, so memory stays bounded. The file gets its name when it is complete;
    an older one is replaced then.

    Parameters
    ----------
    path
        The file.
    structures
        Structures, all labelled or none labelled.
    teacher
        The teacher: name, method, package, version, sha256, licence.
    kinds
        Names for the codes in ``kind``; by default those that occur, in order of appearance.
    smiles
        One SMILES per molecule, row = ``molecule_id``; by default gathered from the structures.
    created
        The command and its settings.
    license
        Licence of the labels.

    Raises
    ------
    InputError
        There are no structures, ``kinds`` lacks a kind, some structures have a property that others lack, or the path
        cannot be written.
    """
    path = Path(path)
    make_folder(path.parent)
    # The partial file is locked already, by its own descriptor.
    with part_beside(path) as part, h5py.File(part, "w", locking=False) as file:
        writer = _Writer(file, kinds, smiles)
        block: list[LabelledStructure] = []
        for structure in structures:
            block.append(structure)
            if len(block) == BLOCK:
                writer.append(block)
                block = []
        writer.append(block)
        if writer.n_structures == 0:
            raise InputError(f"no structures to write to {path}: at least one is needed")
        writer.finish()
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["length_unit"] = LENGTH_UNIT
        file.attrs["energy_unit"] = ENERGY_UNIT
        file.attrs["teacher"] = json.dumps(dict(teacher or {}))
        file.attrs["created"] = json.dumps(dict(created or {}))
        file.attrs["license"] = license
        file.attrs["kinds"] = json.dumps(writer.kinds)
    return writer.n_structures


class _Writer:
    """Appends blocks of structures to an open file and keeps the ragged columns consistent."""

    def __init__(self, file: Any, kinds: Sequence[str] | None, smiles: Sequence[str] | None) -> None:
        self.file = file
        self.kinds = list(kinds or [])
        self.kinds_fixed = kinds is not None
        self.smiles = list(smiles) if smiles is not None else None
        self.smiles_of: dict[int, str] = {}
        self.molecule_of: dict[str, int] = {}
        self.n_structures = 0
        self.n_atoms = 0
        file.create_dataset(
            "offsets", data=np.zeros(1, np.int64), maxshape=(None,), chunks=(CHUNK_STRUCTURES,), **_FILTERS
        )

    def append(self, block: Sequence[LabelledStructure]) -> None:
        if not block:
            return
        counts = np.array([structure.n_atoms for structure in block], dtype=np.int64)
        if counts.min() == 0:
            raise InputError(f"structure {self.n_structures + int(counts.argmin())} has no atoms; leave it out")
        values = [self._values(structure) for structure in block]
        for name in COLUMNS:
            given = [value.get(name) is not None for value in values]
            if any(given) or name in self.file:
                self._check_complete(name, given, block)
                self._extend(name, [value.get(name) for value in values], counts)
        self._append_hessian(block)
        offsets = self.file["offsets"]
        offsets.resize(len(offsets) + len(block), axis=0)
        offsets[-len(block) :] = self.n_atoms + np.cumsum(counts)
        self.n_structures += len(block)
        self.n_atoms += int(counts.sum())

    def finish(self) -> None:
        if self.smiles is None and self.smiles_of:
            self.smiles = [self.smiles_of.get(k, "") for k in range(max(self.smiles_of) + 1)]
        if self.smiles is not None:
            if "molecule_id" in self.file and int(self.file["molecule_id"][:].max()) >= len(self.smiles):
                raise InputError(
                    f"molecule_id goes up to {int(self.file['molecule_id'][:].max())}, "
                    f"but there are {len(self.smiles)} SMILES; give one SMILES per molecule"
                )
            self.file.create_dataset("smiles", data=self.smiles, dtype=h5py.string_dtype())

    def _values(self, s: LabelledStructure) -> dict[str, Any]:
        """Return a structure's value for each column, None where the default applies."""
        molecule = s.molecule_id
        if s.smiles is not None:
            if molecule is None:
                molecule = self.molecule_of.setdefault(s.smiles, len(self.molecule_of))
            self.smiles_of.setdefault(molecule, s.smiles)
        if s.split is not None and s.split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, got {s.split!r}")
        has_cell = s.cell is not None and (s.is_periodic or bool(np.any(s.cell)))
        return {
            "atomic_numbers": s.atomic_numbers,
            "positions": s.positions,
            "energy": s.energy,
            "forces": s.forces,
            "charge": s.charge or None,
            "molecule_id": molecule,
            "kind": self._code(s.kind),
            "split": None if s.split is None else SPLITS.index(s.split),
            "cell": s.cell if has_cell else None,
            "pbc": (s.pbc if s.pbc is not None else np.zeros(3, bool)) if has_cell else None,
            "stress": s.stress if s.is_periodic else None,
            "spin_multiplicity": s.spin_multiplicity if s.spin_multiplicity != 1 else None,
            "weight": s.weight if s.weight != 1.0 else None,
            "atom_energies": s.atom_energies,
            "charges": s.charges,
            "dipole": s.dipole,
            "fragment": s.fragment,
            "fragment_charge": s.fragment_charge,
        }

    def _append_hessian(self, block: Sequence[LabelledStructure]) -> None:
        """Append the rows of the Hessians of a block; a structure may have any number of them."""
        given = [(k, s) for k, s in enumerate(block) if s.hessian_direction is not None and len(s.hessian_direction)]
        if not given:
            return
        group = self.file.require_group("hessian")
        if "offsets" not in group:
            for name, dtype in HESSIAN.items():
                per_atom = name in ("direction", "product")
                group.create_dataset(
                    name,
                    shape=(0, 3) if per_atom else (int(name == "offsets"),),
                    maxshape=(None, 3) if per_atom else (None,),
                    dtype=dtype,
                    chunks=(CHUNK_ATOMS, 3) if per_atom else (CHUNK_STRUCTURES,),
                    **_FILTERS,
                )
        counts = [s.n_atoms for _, s in given for _ in s.hessian_direction]  # type: ignore[union-attr]
        new = {
            "structure": np.concatenate([[self.n_structures + k] * len(s.hessian_direction) for k, s in given]),  # type: ignore[arg-type]
            "offsets": len(group["direction"]) + np.cumsum(counts),
            "direction": np.concatenate([np.reshape(s.hessian_direction, (-1, 3)) for _, s in given]),  # type: ignore[arg-type]
            "product": np.concatenate([np.reshape(s.hessian_product, (-1, 3)) for _, s in given]),  # type: ignore[arg-type]
        }
        for name, rows in new.items():
            done = len(group[name])
            group[name].resize(done + len(rows), axis=0)
            group[name][done:] = rows

    def _code(self, kind: str) -> int:
        if kind not in self.kinds:
            if self.kinds_fixed:
                raise InputError(f"kind {kind!r} is not among the data set's kinds: {', '.join(self.kinds)}")
            self.kinds.append(kind)
        return self.kinds.index(kind)

    def _check_complete(self, name: str, given: list[bool], block: Sequence[LabelledStructure]) -> None:
        """Check that a property without a default is in all structures or in none."""
        if name == "stress":  # zero without a cell, required with one
            missing = [k for k, structure in enumerate(block) if structure.is_periodic and not given[k]]
            begun_late = (
                name not in self.file and "pbc" in self.file and bool(self.file["pbc"][: self.n_structures].any())
            )
        elif name == "dipole":  # zero with a cell, where there is none, required without
            missing = [k for k, structure in enumerate(block) if not structure.is_periodic and not given[k]]
            begun_late = name not in self.file and not self._are_periodic()
        elif COLUMNS[name].default is None:
            missing = [k for k, is_given in enumerate(given) if not is_given]
            begun_late = name not in self.file and self.n_structures > 0
        else:
            return
        if missing or begun_late:
            first = self.n_structures + missing[0] if missing else 0
            hint = "label all structures or none" if name in LABELS else "give it to all structures or to none"
            raise InputError(f"structure {first} has no {name}, but others have; {hint}")

    def _are_periodic(self) -> bool:
        """Return whether all structures written so far are periodic."""
        if self.n_structures == 0 or "pbc" not in self.file:
            return self.n_structures == 0
        return bool(self.file["pbc"][: self.n_structures].any(axis=1).all())

    def _extend(self, name: str, values: list[Any], counts: Array) -> None:
        column = COLUMNS[name]
        dtype = np.dtype(column.dtype)
        if column.per == "atom":
            rows = np.concatenate(
                [
                    np.full(count, column.default) if value is None else np.asarray(value)
                    for value, count in zip(values, counts, strict=True)
                ]
            )
            done, chunk = self.n_atoms, CHUNK_ATOMS
        else:
            default = np.full(column.shape, 0 if column.default is None else column.default)
            rows = np.stack([default if value is None else np.asarray(value) for value in values])
            done, chunk = self.n_structures, CHUNK_STRUCTURES
        if dtype.kind in "iu" and not (rows.astype(dtype) == rows).all():
            raise InputError(f"{name} must fit {dtype}, got {rows.min()} to {rows.max()}")
        if name not in self.file:
            self.file.create_dataset(
                name,
                shape=(done, *column.shape),
                maxshape=(None, *column.shape),
                dtype=dtype,
                chunks=(chunk, *column.shape),
                fillvalue=column.default,
                **_FILTERS,
            )
        target = self.file[name]
        target.resize(done + len(rows), axis=0)
        target[done:] = rows.astype(dtype)
