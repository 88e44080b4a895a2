"""Reading a data set file: lazily, in blocks, from any process.

It is in one file because all of it reads through one open HDF5 file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.data.check import check_hessian_values, check_labels, check_layout, check_values
from mlff_core.data.digest import file_sha256
from mlff_core.data.hessian_rows import HessianRows
from mlff_core.data.hessian_table import HessianTable
from mlff_core.data.layout import COLUMNS, SPLITS
from mlff_core.data.molecules import check_molecules
from mlff_core.data.ragged import read_rows
from mlff_core.data.stored import StoredGroup, open_stored
from mlff_core.data.structure import Array, LabelledBatch, LabelledStructure
from mlff_core.errors import InputError
from mlff_core.structures.batch import AtomicBatch


class Dataset:
    """A data set file, opened for reading.

    Only columns with one row per structure are kept in memory; atoms are read when needed. It can be pickled and used
    after a fork: each process opens its own file.

    Parameters
    ----------
    path
        The HDF5 file.

    Raises
    ------
    InputError
        The file does not exist, is not HDF5, or breaks the layout; the message names the data set and the rule.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handle: StoredGroup | None = None
        self._pid = -1
        if not self.path.is_file():
            raise InputError(f"there is no data set file {self.path}; make one with `mlff data generate`")
        try:
            check_layout(self._file, str(self.path))
        except BaseException:
            self.close()
            raise
        self.offsets: npt.NDArray[np.int64] = self._file["offsets"][:].astype(np.int64, copy=False)
        self.kind: Array = self._file["kind"][:]
        self.kinds: list[str] = self._file.json("kinds")

    @property
    def _file(self) -> StoredGroup:
        if self._handle is None or self._pid != os.getpid():
            self.close()
            self._handle = open_stored(self.path)
            self._pid = os.getpid()
        return self._handle

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> Dataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path]]:
        return Dataset, (self.path,)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}): {len(self)} structures, {self.n_atoms} atoms"

    @property
    def n_atoms(self) -> int:
        """Number of atoms of all structures together."""
        return int(self.offsets[-1])

    @property
    def atoms_per_structure(self) -> npt.NDArray[np.int64]:
        """Number of atoms of each structure, shape (n_structures,)."""
        return np.diff(self.offsets)

    def n_atoms_of(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of atoms of some structures, shape (n,).

        Parameters
        ----------
        indices
            Indices of the structures, shape (n,).
        """
        counts = self.offsets[indices + 1]
        counts -= self.offsets[indices]
        return counts

    def has(self, name: str) -> bool:
        """Return whether the file holds this data set, such as ``"stress"``."""
        return name in self._file

    @property
    def is_labelled(self) -> bool:
        """True if there are energies and forces."""
        return self.has("energy") and self.has("forces")

    @cached_property
    def molecule_id(self) -> Array:
        """The molecule of each structure, shape (n_structures,); a molecule per structure where the file has none."""
        if self.has("molecule_id"):
            return np.asarray(self._file["molecule_id"][:])
        return np.arange(len(self), dtype=np.int32)

    @cached_property
    def smiles(self) -> list[str] | None:
        """One SMILES for each molecule, or None."""
        return self._file["smiles"].text() if self.has("smiles") else None

    @cached_property
    def split(self) -> Array | None:
        """Split of each structure, shape (n_structures,): 0 train, 1 validation, 2 test; None if not split."""
        return self._sound_rows("split", np.arange(len(self))) if self.has("split") else None

    @cached_property
    def energy(self) -> Array:
        """The teacher's energies, shape (n_structures,), eV.

        Raises
        ------
        InputError
            The set is not labelled.
        """
        return np.asarray(self._labels("energy")[:])

    def energy_of(self, indices: Sequence[int] | Array) -> Array:
        """Return the teacher's energies of some structures, shape (n,), eV; unlike :attr:`energy`, they are not cached.

        Parameters
        ----------
        indices
            Indices of the structures, shape (n,).

        Raises
        ------
        InputError
            The set is not labelled, or an energy is not finite.
        """
        self._labels("energy")
        return self._sound_rows("energy", self._checked(indices))

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        found: set[int] = set()
        for start, stop in self.blocks():
            found.update(np.unique(self._file["atomic_numbers"][self.offsets[start] : self.offsets[stop]]).tolist())
        return tuple(sorted(found))

    @property
    def teacher(self) -> dict[str, Any]:
        """The teacher that labelled it: name, method, package, version, sha256 of the weights, licence."""
        return self._json("teacher")

    @property
    def created(self) -> dict[str, Any]:
        """The command that made it and its settings."""
        return self._json("created")

    @property
    def license(self) -> str:
        """Licence of the labels."""
        return str(self._file.attribute("license") or "")

    def _json(self, name: str) -> dict[str, Any]:
        value = self._file.json(name)
        return value if isinstance(value, dict) else {} if value is None else {"value": value}

    def _labels(self, name: str) -> Any:
        if not self.has(name):
            raise InputError(f"{self.path} has no data set {name!r}: label it with `mlff data label`")
        return self._file[name]

    def indices(self, split: str | None = None) -> npt.NDArray[np.int64]:
        """Return the structures of a split, shape (n,), ascending; all of them if None.

        Raises
        ------
        InputError
            The split is unknown, or the file has no splits.
        """
        if split is None:
            return np.arange(len(self))
        if split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if self.split is None:
            raise InputError(f"{self.path} has no data set 'split': make one with `mlff data split`")
        return np.flatnonzero(self.split == SPLITS.index(split))

    def blocks(self, n_atoms: int = 262_144) -> Iterator[tuple[int, int]]:
        """Yield ranges (start, stop) of structures that hold about ``n_atoms`` atoms each and cover the set."""
        start = 0
        while start < len(self):
            stop = int(np.searchsorted(self.offsets, self.offsets[start] + n_atoms, side="right")) - 1
            stop = max(stop, start + 1)
            yield start, stop
            start = stop

    def structure(self, k: int) -> LabelledStructure:
        """Return one structure with all its labels."""
        (only,) = self.structures([k])
        return only

    def structures(self, indices: Iterable[int] | None = None) -> Iterator[LabelledStructure]:
        """Yield structures in the given order (all by default), read in blocks of bounded memory."""
        if indices is None:
            for start, stop in self.blocks():
                yield from self._build(np.arange(start, stop))
            return
        wanted = self._checked(list(indices))
        for first in range(0, len(wanted), 1024):
            yield from self._build(wanted[first : first + 1024])

    def _build(self, indices: npt.NDArray[np.int64]) -> Iterator[LabelledStructure]:
        rows = {
            # A damaged label may be read, to be computed again; an invalid code may not.
            name: self._rows(name, indices)
            if column.dtype in (np.float32, np.float64)
            else self._sound_rows(name, indices)
            for name, column in COLUMNS.items()
            if self.has(name)
        }
        bounds = np.concatenate([[0], np.cumsum(self.n_atoms_of(indices))])
        for k, index in enumerate(indices):
            atoms = slice(bounds[k], bounds[k + 1])
            value = {n: array[atoms] if COLUMNS[n].per == "atom" else array[k] for n, array in rows.items()}
            molecule = int(value["molecule_id"]) if "molecule_id" in value else None
            arrays = {
                n: value.get(n) for n in ("forces", "cell", "pbc", "stress", "atom_energies", "charges", "dipole")
            }
            if arrays["pbc"] is not None and arrays["pbc"].any():
                arrays["dipole"] = None
            if self.has("hessian"):
                arrays.update(self._hessian.of_structure(self._file["hessian"], int(index)))
            if "fragment" in value and not (value["fragment"] == -1).all():
                arrays.update(self._molecules(value, int(index)))
            yield LabelledStructure(
                atomic_numbers=value["atomic_numbers"],
                positions=value["positions"],
                energy=float(value["energy"]) if "energy" in value else None,
                charge=int(value.get("charge", 0)),
                spin_multiplicity=int(value.get("spin_multiplicity", 1)),
                weight=float(value.get("weight", 1.0)),
                molecule_id=molecule,
                kind=self.kinds[int(self.kind[index])],
                smiles=self.smiles[molecule] if self.smiles is not None and molecule is not None else None,
                split=SPLITS[int(value["split"])] if "split" in value else None,
                **arrays,
            )

    def _molecules(self, value: dict[str, Any], index: int) -> dict[str, Any]:
        """Return the molecules of structure ``index`` after a check."""
        try:
            check_molecules(value["fragment"], value["fragment_charge"], int(value.get("charge", 0)))
        except InputError as error:
            raise InputError(f"{self.path}: data set 'fragment': structure {index}: {error}") from error
        return {name: value[name] for name in ("fragment", "fragment_charge")}

    def read(self, indices: Sequence[int] | Array, dtype: torch.dtype = torch.float32) -> LabelledBatch:
        """Return structures with their labels as tensors on the CPU, in the order of ``indices``.

        Ascending indices close together are read at once; scattered ones cost decompressing a chunk each.

        Parameters
        ----------
        indices
            Indices of the structures, shape (n_systems,).
        dtype
            Type of every floating-point tensor except the energy.

        Raises
        ------
        InputError
            An index is outside the set, no index is given, the set has no labels, or a value is invalid, such as a
            label that is not finite; the message names the data set and the structure.
        """
        wanted = self._checked(indices)
        for name in ("energy", "forces"):
            self._labels(name)

        def tensor(name: str, kind: torch.dtype) -> torch.Tensor:
            return torch.from_numpy(self._sound_rows(name, wanted)).to(kind)

        def optional(name: str, kind: torch.dtype) -> torch.Tensor | None:
            return tensor(name, kind) if self.has(name) else None

        n_systems = len(wanted)
        cell, pbc = optional("cell", dtype), optional("pbc", torch.bool)
        batch = AtomicBatch(
            positions=tensor("positions", dtype),
            atomic_numbers=tensor("atomic_numbers", torch.int64),
            cell=torch.zeros(n_systems, 3, 3, dtype=dtype) if cell is None else cell,
            pbc=torch.zeros(n_systems, 3, dtype=torch.bool) if pbc is None else pbc,
            system_idx=torch.repeat_interleave(torch.arange(n_systems), torch.from_numpy(self.n_atoms_of(wanted))),
            charge=optional("charge", dtype),
            spin_multiplicity=optional("spin_multiplicity", torch.int64),
            fragment=optional("fragment", torch.int64),
            fragment_charge=optional("fragment_charge", torch.int64),
        )
        return LabelledBatch(
            batch=batch,
            energy=tensor("energy", torch.float64),
            forces=tensor("forces", dtype),
            index=torch.from_numpy(wanted),
            stress=optional("stress", dtype),
            weight=optional("weight", dtype),
            atom_energies=optional("atom_energies", dtype),
            charges=optional("charges", dtype),
            dipole=optional("dipole", dtype),
            hessian=self.hessian_rows(wanted, dtype) if self.has("hessian") else None,
        )

    @cached_property
    def _hessian(self) -> HessianTable:
        return HessianTable(self._file["hessian"], len(self))

    @property
    def hessian_rows_per_structure(self) -> npt.NDArray[np.int64]:
        """Number of rows of the Hessian of each structure, shape (n_structures,)."""
        return self._hessian.rows_per_structure if self.has("hessian") else np.zeros(len(self), dtype=np.int64)

    def hessian_rows(self, indices: Sequence[int] | Array, dtype: torch.dtype = torch.float32) -> HessianRows:
        """Return the rows of the Hessians of some structures; ``system`` is an index into these.

        Parameters
        ----------
        indices
            Indices of the structures, shape (n_systems,).
        dtype
            Type of directions and products.

        Raises
        ------
        InputError
            A row is not finite; the message names the structure.
        """
        wanted = self._checked(indices)
        if self.has("hessian"):
            rows = self._hessian.read(self._file["hessian"], wanted, dtype)
            check_hessian_values(self, rows, wanted)
            return rows
        return HessianRows(torch.empty(0, dtype=torch.int64), *(torch.empty(0, 3, dtype=dtype) for _ in range(2)))

    def _checked(self, indices: Sequence[int] | Array) -> npt.NDArray[np.int64]:
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or len(wanted) == 0 or not np.issubdtype(wanted.dtype, np.integer):
            raise InputError(f"indices must be a list of at least one integer, got {indices!r}")
        if wanted.min() < 0 or wanted.max() >= len(self):
            raise InputError(
                f"{self.path} has structures 0 to {len(self) - 1}, got indices {wanted.min()} to {wanted.max()}"
            )
        return wanted.astype(np.int64)

    def _rows(self, name: str, wanted: npt.NDArray[np.int64]) -> Array:
        """Return the rows of a data set that belong to the wanted structures, in their order."""
        return read_rows(self._file[name], wanted, self.offsets if COLUMNS[name].per == "atom" else None)

    def _sound_rows(self, name: str, wanted: npt.NDArray[np.int64]) -> Array:
        rows = self._rows(name, wanted)
        check_values(self, name, rows, wanted)
        return rows

    def validate(self) -> None:
        """Read and check every value; the layout is checked when the file is opened.

        Raises
        ------
        InputError
            Labels or positions that are not finite, impossible atomic numbers, a molecule in two splits …; the message
            names the data set, the rule and the first structure that breaks it.
        """
        check_labels(self)

    def sha256(self) -> str:
        """Return the SHA-256 of the file."""
        return file_sha256(self.path)

    def column(self, name: str, start: int, stop: int) -> Array:
        """Return the rows of a data set that belong to structures start … stop − 1, in the layout's unit."""
        if COLUMNS[name].per == "structure":
            return np.asarray(self._file[name][start:stop])
        return np.asarray(self._file[name][self.offsets[start] : self.offsets[stop]])
