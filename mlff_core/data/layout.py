"""Layout of the data set file, version 2: names, shapes, types and defaults of its HDF5 data sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FORMAT = "mlff-dataset"
VERSION = 2
READABLE = (1, 2)
"""Versions that are read; version 1 has neither ``fragment`` nor ``fragment_charge``."""
LENGTH_UNIT = "Angstrom"
ENERGY_UNIT = "eV"
SPLITS = ("train", "validation", "test")
"""Names of the codes 0, 1, 2 in ``split``."""


@dataclass(frozen=True)
class Column:
    """One HDF5 data set with a row for each atom or structure."""

    per: str
    """``"atom"`` or ``"structure"``."""
    shape: tuple[int, ...]
    """Shape of one row."""
    dtype: type
    """Type as written; a reader accepts any type of the same kind."""
    default: float | None = None
    """Value for a structure that has none of its own; None where there is no default."""


COLUMNS: dict[str, Column] = {
    "atomic_numbers": Column("atom", (), np.uint8),
    "positions": Column("atom", (3,), np.float32),
    "energy": Column("structure", (), np.float64),
    "forces": Column("atom", (3,), np.float32),
    "charge": Column("structure", (), np.int8, 0),
    "molecule_id": Column("structure", (), np.int32),
    "kind": Column("structure", (), np.uint8),
    "split": Column("structure", (), np.uint8),
    "cell": Column("structure", (3, 3), np.float64, 0.0),
    "pbc": Column("structure", (3,), np.bool_, 0),
    "stress": Column("structure", (3, 3), np.float32, 0.0),
    "spin_multiplicity": Column("structure", (), np.int8, 1),
    "weight": Column("structure", (), np.float32, 1.0),
    "atom_energies": Column("atom", (), np.float32),
    "charges": Column("atom", (), np.float32),
    "dipole": Column("structure", (3,), np.float32),
    "fragment": Column("atom", (), np.int32, -1),
    "fragment_charge": Column("atom", (), np.int8, 0),
}
"""Every HDF5 data set except ``offsets`` and ``smiles``."""

HESSIAN: dict[str, type] = {
    "structure": np.int64,
    "offsets": np.int64,
    "direction": np.float32,
    "product": np.float32,
}
"""The group ``hessian``: the structure of each row, where its atoms begin, v and H·v (eV/Å²) of each atom."""

REQUIRED = ("atomic_numbers", "positions", "kind")
"""Columns that every data set has; a labelled one has ``energy`` and ``forces`` too."""

LABELS = ("energy", "forces", "stress", "atom_energies", "charges", "dipole")
