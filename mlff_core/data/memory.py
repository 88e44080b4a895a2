"""Labelled structures in memory, from which batches are gathered."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.data.hessian_rows import HessianRows
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledBatch
from mlff_core.structures.batch import AtomicBatch

Indices = npt.NDArray[np.int64]
PIECE_ATOMS = 65_536
"""Atoms read from the file at once."""


def pieces(dataset: Dataset, indices: Indices) -> Iterator[Indices]:
    """Yield ``indices``, shape (n,), in runs of about :data:`PIECE_ATOMS` atoms."""
    ends = np.cumsum(dataset.n_atoms_of(indices))
    start = 0
    while start < len(indices):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + PIECE_ATOMS, side="right")))
        yield indices[start:stop]
        start = stop


def check_rows(dataset: Dataset, indices: Indices) -> None:
    """Read structures and check their labels, before hours are spent on training.

    Parameters
    ----------
    dataset
        The data set to read.
    indices
        Indices of the structures, shape (n,).

    Raises
    ------
    InputError
        Names the data set and the structure.
    """
    for piece in pieces(dataset, indices):
        dataset.read(piece)


class Rows:
    """Structures of a data set in memory.

    Parameters
    ----------
    dataset
        The data set to read.
    indices
        Indices of the structures, shape (n_structures,), ascending.
    """

    def __init__(self, dataset: Dataset, indices: Indices) -> None:
        counts = dataset.n_atoms_of(indices)
        self.offsets = np.concatenate([[0], np.cumsum(counts)])
        self.index = indices
        self._atoms: dict[str, torch.Tensor] = {}
        self._systems: dict[str, torch.Tensor] = {}
        # The first row of each structure's Hessian, and the rows' atoms one row after the other.
        n_rows = dataset.hessian_rows_per_structure[indices]
        self._first_row = np.concatenate([[0], np.cumsum(n_rows)])
        self._row_offsets = np.concatenate([[0], np.cumsum(np.repeat(counts, n_rows))])
        self._row_atoms: dict[str, torch.Tensor] = {}
        system, atom, row_atom = 0, 0, 0
        for piece in pieces(dataset, indices):
            labels = dataset.read(piece)
            batch = labels.batch
            for name, value in {
                "positions": batch.positions,
                "forces": labels.forces,
                "atomic_numbers": batch.atomic_numbers.to(torch.uint8),
                "atom_energies": labels.atom_energies,
                "charges": labels.charges,
            }.items():
                self._put(self._atoms, name, value, atom, int(self.offsets[-1]))
            for name, value in {
                "energy": labels.energy,
                "weight": labels.weight,
                "stress": labels.stress,
                "dipole": labels.dipole,
                "charge": batch.charge,
                "spin_multiplicity": batch.spin_multiplicity,
                "cell": batch.cell if dataset.has("cell") else None,
                "pbc": batch.pbc if dataset.has("cell") else None,
            }.items():
                self._put(self._systems, name, value, system, len(indices))
            if labels.hessian is not None:
                for name, value in {"direction": labels.hessian.direction, "product": labels.hessian.product}.items():
                    self._put(self._row_atoms, name, value, row_atom, int(self._row_offsets[-1]))
                row_atom += len(labels.hessian.direction)
            system, atom = system + batch.n_systems, atom + batch.n_atoms

    @staticmethod
    def _put(store: dict[str, torch.Tensor], name: str, value: torch.Tensor | None, start: int, total: int) -> None:
        if value is None:
            return
        if name not in store:
            store[name] = torch.empty((total, *value.shape[1:]), dtype=value.dtype)
        store[name][start : start + len(value)] = value

    def __len__(self) -> int:
        return len(self.index)

    def gather(self, rows: Indices) -> LabelledBatch:
        """Return the structures at ``rows``, shape (n_systems,), in that order."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        atoms = ranges(self.offsets, rows)
        systems = torch.from_numpy(rows)
        n_systems = len(rows)

        def of_system(name: str) -> torch.Tensor | None:
            return self._systems[name][systems] if name in self._systems else None

        def of_atom(name: str) -> torch.Tensor | None:
            return self._atoms[name][atoms] if name in self._atoms else None

        positions = self._atoms["positions"][atoms]
        cell, pbc = of_system("cell"), of_system("pbc")
        batch = AtomicBatch(
            positions=positions,
            atomic_numbers=self._atoms["atomic_numbers"][atoms].long(),
            cell=positions.new_zeros(n_systems, 3, 3) if cell is None else cell,
            pbc=torch.zeros(n_systems, 3, dtype=torch.bool) if pbc is None else pbc,
            system_idx=torch.repeat_interleave(torch.arange(n_systems), torch.from_numpy(counts)),
            charge=of_system("charge"),
            spin_multiplicity=of_system("spin_multiplicity"),
        )
        return LabelledBatch(
            batch=batch,
            energy=self._systems["energy"][systems],
            forces=self._atoms["forces"][atoms],
            index=torch.from_numpy(self.index[rows]),
            stress=of_system("stress"),
            weight=of_system("weight"),
            atom_energies=of_atom("atom_energies"),
            charges=of_atom("charges"),
            dipole=of_system("dipole"),
            hessian=self._hessian(rows) if self._row_atoms else None,
        )

    def _hessian(self, rows: Indices) -> HessianRows:
        """Return the rows of the Hessians of the structures at ``rows``, shape (n_systems,)."""
        system = np.repeat(np.arange(len(rows)), self._first_row[rows + 1] - self._first_row[rows])
        atoms = ranges(self._row_offsets, ranges(self._first_row, rows).numpy())
        return HessianRows(
            torch.from_numpy(system), self._row_atoms["direction"][atoms], self._row_atoms["product"][atoms]
        )


def ranges(bounds: Indices, members: Indices) -> torch.Tensor:
    """Return all integers from bounds[k] to bounds[k + 1] for k in ``members``, shape (n,)."""
    counts = bounds[members + 1] - bounds[members]
    begin = np.cumsum(counts) - counts
    return torch.from_numpy(np.arange(int(counts.sum())) + np.repeat(bounds[members] - begin, counts))


def bytes_per_structure(dataset: Dataset, indices: Indices) -> npt.NDArray[np.int32]:
    """Return the memory that each structure needs in :class:`Rows`, shape (n_structures,), bytes.

    Parameters
    ----------
    dataset, indices
        The data set, and the indices of its structures, shape (n_structures,).
    """
    per_atom = 3 * 4 + 3 * 4 + 1 + 4 * dataset.has("atom_energies") + 4 * dataset.has("charges")
    per_system = 8 + 8 + 8 + 4 * dataset.has("weight") + 36 * dataset.has("stress") + 39 * dataset.has("cell")
    per_system += 12 * dataset.has("dipole")
    n_atoms = dataset.n_atoms_of(indices).astype(np.int32)
    size = n_atoms * np.int32(per_atom) + np.int32(per_system)
    if dataset.has("hessian"):
        size += n_atoms * (24 * dataset.hessian_rows_per_structure[indices]).astype(np.int32)
    return np.asarray(size, dtype=np.int32)
