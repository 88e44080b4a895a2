"""The energy of a student's charges in an outer electrostatic potential."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mlff_core.model.derivatives import sum_over_systems
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.prediction import Prediction


def add_field(prediction: Prediction, batch: AtomicBatch, potentials: Tensor) -> Prediction:
    """Return the prediction with Σ_i φ_i q_i of each system added to its energy; the rest is left alone.

    Parameters
    ----------
    prediction
        With charges.
    batch
        The structures.
    potentials
        φ, shape (n_atoms,), eV/e.
    """
    assert prediction.charges is not None, "only students with charges are put into a field"
    energies = potentials.double() * prediction.charges.double()
    return replace(prediction, energy=prediction.energy + sum_over_systems(energies, batch.system_idx, batch.n_systems))
