"""Scaling the standard deviations of an ensemble to its errors on held-out structures."""

from __future__ import annotations

from collections.abc import Callable

from mlff_core.data.hdf5 import Dataset
from mlff_core.errors import InputError
from mlff_core.judging.evaluate import evaluate
from mlff_core.potentials.ensemble import Calibration, Ensemble, fit_scale


def calibrate(
    ensemble: Ensemble,
    dataset: Dataset,
    split: str | None = "validation",
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Ensemble:
    """Return the ensemble with factors fitted so that its 90 % intervals hold 90 % of the errors on a split.

    Parameters
    ----------
    ensemble
        The ensemble; any calibration it has is ignored.
    dataset, split
        Structures that no member was trained on.
    progress
        Called with (structures done, number of structures).

    Raises
    ------
    InputError
        The split is empty, or the members have the same error.
    """
    bare = ensemble.with_calibration(Calibration())
    found = evaluate(bare, dataset, split, progress=progress)
    forces_std, energy_std = found.sample.forces_std, found.table.energy_std
    if forces_std is None or energy_std is None:
        raise InputError(f"{ensemble.card.name} gives no standard deviations, which calibration needs; use an ensemble")
    errors = (found.sample.predicted - found.sample.reference).reshape(-1)
    return ensemble.with_calibration(
        Calibration(
            energy=fit_scale(found.table.energy_error, energy_std),
            forces=fit_scale(errors, forces_std.reshape(-1)),
        )
    )
