"""The structures with the largest errors of a model, with both sets of forces, for the 3D view."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from mlff_core.data.hdf5 import Dataset
from mlff_core.judging.outcome import Evaluation
from mlff_core.potentials.interface import Potential


def worst_structures(evaluation: Evaluation, dataset: Dataset, potential: Potential) -> list[dict[str, Any]]:
    """Return the worst ten, predicted again, ready for JSON: symbols, positions in Å, both forces in eV/Å, metrics.

    They are rotated to their principal axes, so directions differ from those in the data set.

    Raises
    ------
    UnsupportedError
        The potential gives no forces.
    """
    found = []
    for entry in evaluation.worst:
        labelled = dataset.read([entry["index"]], dtype=potential.dtype)
        forces = potential.predict(labelled.batch).need("forces", potential.card.name)
        positions = labelled.batch.positions.double().numpy()
        reference, predicted = labelled.forces.double().numpy(), forces.cpu().double().numpy()
        structure = dataset.structure(entry["index"])
        numbers = structure.atomic_numbers.tolist()
        error = np.linalg.norm(predicted - reference, axis=1)
        # Viewed along its thinnest direction, most of a molecule is visible.
        centred = positions - positions.mean(axis=0)
        axes = np.linalg.svd(centred, full_matrices=True)[2]
        axes[2] *= np.linalg.det(axes)
        found.append(
            {
                **entry,
                "smiles": structure.smiles or "",
                "largest_error": round(float(error.max()), 3),
                "largest_error_atom": int(error.argmax()),
                "symbols": [chemical_symbols[z] for z in numbers],
                "radii": [round(float(covalent_radii[z]), 3) for z in numbers],
                "colours": [_hex(z) for z in numbers],
                "positions": np.round(centred @ axes.T, 4).tolist(),
                "reference": np.round(reference @ axes.T, 4).tolist(),
                "predicted": np.round(predicted @ axes.T, 4).tolist(),
            }
        )
    return found


def _hex(number: int) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in jmol_colors[number])
