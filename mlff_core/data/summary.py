"""Counts and statistics of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mlff_core.data.layout import COLUMNS, LABELS, SPLITS
from mlff_core.data.reader import Dataset


def label_counts(dataset: Dataset) -> dict[str, int]:
    """Return how many structures have each label; labels that none has are left out."""
    counts = {name: len(dataset) for name in LABELS if name != "stress" and dataset.has(name)}
    if dataset.has("stress"):  # zero, not a label, where nothing is periodic
        counts["stress"] = int(dataset.column("pbc", 0, len(dataset)).any(axis=1).sum()) if dataset.has("pbc") else 0
    if rows := int((dataset.hessian_rows_per_structure > 0).sum()):
        counts["hessian"] = rows
    return counts


def summarize(path: str | Path) -> dict[str, Any]:
    """Return counts, elements, kinds, split, teacher and the size of forces of a data set; JSON.

    Raises
    ------
    InputError
        The file is missing or breaks the layout.
    """
    with Dataset(path) as dataset:
        sizes = dataset.atoms_per_structure
        atoms_of = np.zeros(256, dtype=np.int64)
        squares, largest = 0.0, 0.0
        for start, stop in dataset.blocks():
            atoms_of += np.bincount(dataset.column("atomic_numbers", start, stop), minlength=256)
            if dataset.has("forces"):
                forces = dataset.column("forces", start, stop).astype(np.float64)
                squares += float((forces**2).sum())
                largest = max(largest, float(np.abs(forces).max()))
        summary: dict[str, Any] = {
            "path": str(path),
            "n_structures": len(dataset),
            "n_molecules": len(np.unique(dataset.molecule_id)),
            "n_atoms": dataset.n_atoms,
            "atoms_per_structure": {"least": int(sizes.min()), "mean": float(sizes.mean()), "most": int(sizes.max())},
            "atoms_of_element": {chemical_symbols[z]: int(atoms_of[z]) for z in np.flatnonzero(atoms_of)},
            "kinds": {
                name: int(count)
                for name, count in zip(
                    dataset.kinds, np.bincount(dataset.kind, minlength=len(dataset.kinds)), strict=True
                )
            },
            "split": {}
            if dataset.split is None
            else {name: int((dataset.split == code).sum()) for code, name in enumerate(SPLITS)},
            "labels": label_counts(dataset),
            "columns": [name for name in COLUMNS if dataset.has(name)],
        }
        if dataset.has("forces"):
            summary["force_rms_ev_per_angstrom"] = float(np.sqrt(squares / (3 * dataset.n_atoms)))
            summary["largest_force_component_ev_per_angstrom"] = largest
        return {
            **summary,
            "teacher": {key: value for key, value in dataset.teacher.items() if not isinstance(value, dict)},
            "license": dataset.license,
            "sha256": dataset.sha256(),
        }
