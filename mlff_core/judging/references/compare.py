"""Comparison of the energies of a potential with those of a reference set."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from mlff_core.errors import MlffError, first_line
from mlff_core.judging.references.sets import Complex, Conformers, ReferenceSet
from mlff_core.potentials.frames import predict_frames
from mlff_core.potentials.interface import Potential
from mlff_core.units import KCAL_MOL_PER_EV

if TYPE_CHECKING:
    from ase import Atoms

EQUILIBRIUM = 1.0
AT_ONCE = 10
"""Number of complexes that are computed together."""
LEAST_CONFORMERS = 3
"""Least number of conformers: fewer say nothing about a correlation."""

Array = npt.NDArray[np.float64]
Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Metrics of a potential on one reference set.

    Parameters
    ----------
    model
        Name of the potential.
    set_name
        Name of the reference set.
    metrics
        Metrics by name: MAE and other errors, kcal/mol; correlations.
    rows
        One row of plain values for each complex or molecule.
    skipped
        Reasons for which structures were left out, each with the number of structures.
    """

    model: str
    set_name: str
    metrics: dict[str, float | int | None]
    rows: list[dict[str, Any]]
    skipped: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; numbers that are not finite are None."""
        return {
            "model": self.model,
            "set": self.set_name,
            "metrics": self.metrics,
            "rows": self.rows,
            "skipped": self.skipped,
        }


def compare(potential: Potential, reference: ReferenceSet, progress: Progress | None = None) -> Comparison:
    """Return the errors of a potential's energies on a reference set.

    Parameters
    ----------
    potential
        The potential.
    reference
        The reference set.
    progress
        Called with the number of complexes or molecules done.
    """
    skipped: Counter[str] = Counter()
    if reference.complexes:
        energies = _interactions(potential, reference.complexes, skipped, progress)
        return Comparison(
            potential.card.name,
            reference.name,
            interaction_metrics(reference.complexes, energies),
            [
                {
                    "name": one.name,
                    "group": one.group,
                    "scaling": one.scaling,
                    "charges": one.charges,
                    "reference_kcal_mol": one.reference_kcal_mol,
                    "interaction_kcal_mol": _plain(energy),
                }
                for one, energy in zip(reference.complexes, energies, strict=True)
            ],
            dict(skipped),
        )
    rows = _conformer_rows(potential, reference.conformers, skipped, progress)
    return Comparison(potential.card.name, reference.name, conformer_metrics(rows), rows, dict(skipped))


def alike(skipped: Mapping[str, int]) -> dict[str, int]:
    """Return reasons that differ only in their numbers as one: the first of them, with the sum of their structures."""
    first: dict[str, str] = {}
    found: dict[str, int] = {}
    for reason, count in skipped.items():
        shown = first.setdefault(re.sub(r"\d+(\.\d+)?", "#", reason), reason)
        found[shown] = found.get(shown, 0) + count
    return found


def interaction_metrics(complexes: Sequence[Complex], energies: Array) -> dict[str, float | int | None]:
    """Return errors of interaction energies: over all, by distance, by charge and by group.

    Parameters
    ----------
    complexes
        The complexes, with their reference energies.
    energies
        Interaction energies of the potential, shape (n_complexes,), kcal/mol; NaN if there is none.
    """
    errors = energies - np.array([one.reference_kcal_mol for one in complexes])
    metrics: dict[str, float | int | None] = {"n": int(np.isfinite(errors).sum())}
    scalings = np.array([one.scaling for one in complexes])
    _add(metrics, "MAE, all distances", np.abs(errors))
    at_equilibrium = np.isclose(scalings, EQUILIBRIUM)
    _add(metrics, "MAE, equilibrium", np.abs(errors[at_equilibrium]))
    _add(metrics, "mean error, equilibrium", errors[at_equilibrium])
    _add(metrics, "largest error, equilibrium", np.abs(errors[at_equilibrium]), np.max)
    for scaling in np.unique(scalings.round(6)):
        if not np.isclose(scaling, EQUILIBRIUM):
            _add(metrics, f"MAE, {scaling:g} × equilibrium", np.abs(errors[np.isclose(scalings, scaling)]))
    for title, of in (("", lambda one: one.charges), ("group ", lambda one: one.group)):
        kinds = np.array([of(one) for one in complexes])
        if len(set(kinds)) > 1:
            for kind in sorted(set(kinds)):
                _add(metrics, f"MAE, equilibrium, {title}{kind}", np.abs(errors[at_equilibrium & (kinds == kind)]))
    return metrics


def conformer_metrics(rows: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
    """Return the metrics over all molecules from ``mae_kcal_mol``, ``r2`` and ``rank`` of each."""
    metrics: dict[str, float | int | None] = {"n": len(rows)}
    _add(metrics, "MAE of relative energies", np.array([row["mae_kcal_mol"] for row in rows]))
    for key, title in (("r2", "R² of relative energies"), ("rank", "rank correlation")):
        values = np.array([np.nan if row[key] is None else row[key] for row in rows])
        _add(metrics, f"{title}, median", values, np.median)
        _add(metrics, f"{title}, mean", values)
    return metrics


def _interactions(
    potential: Potential, complexes: Sequence[Complex], skipped: Counter[str], progress: Progress | None
) -> Array:
    """Return E(complex) − E(first) − E(second) of each, shape (n_complexes,), kcal/mol; NaN if one failed."""
    found = np.full(len(complexes), np.nan)
    for start in range(0, len(complexes), AT_ONCE):
        chunk = complexes[start : start + AT_ONCE]
        energies = _energies(potential, [frame for one in chunk for frame in (one.whole, *one.parts)], None)
        for k, one in enumerate(chunk):
            three = energies[3 * k : 3 * k + 3] if energies is not None else None
            if three is None:  # one structure of the chunk failed: compute the complexes one by one
                three = _energies(potential, (one.whole, *one.parts), skipped)
            if three is not None:
                found[start + k] = (three[0] - three[1] - three[2]) * KCAL_MOL_PER_EV
        if progress is not None:
            progress(start + len(chunk))
    return found


def _conformer_rows(
    potential: Potential, molecules: Sequence[Conformers], skipped: Counter[str], progress: Progress | None
) -> list[dict[str, Any]]:
    rows = []
    for k, one in enumerate(molecules):
        energies = None
        if len(one.frames) >= LEAST_CONFORMERS:
            energies = _energies(potential, one.frames, skipped)
        else:
            skipped[f"fewer than {LEAST_CONFORMERS} conformers"] += len(one.frames)
        if energies is not None:
            reference = np.array(one.reference_kcal_mol)
            predicted = energies * KCAL_MOL_PER_EV
            errors = predicted - predicted.mean() - (reference - reference.mean())
            varies = np.ptp(predicted) > 0 and np.ptp(reference) > 0
            rows.append(
                {
                    "molecule": one.molecule,
                    "n_conformers": len(one.frames),
                    "spread_kcal_mol": _plain(np.ptp(reference)),
                    "mae_kcal_mol": float(np.abs(errors).mean()),
                    "r2": _plain(np.corrcoef(reference, predicted)[0, 1] ** 2) if varies else None,
                    "rank": _plain(spearmanr(reference, predicted).statistic) if varies else None,
                }
            )
        if progress is not None:
            progress(k + 1)
    return rows


def _energies(potential: Potential, frames: Iterable[Atoms], skipped: Counter[str] | None) -> Array | None:
    """Return the energy of each frame, shape (n_frames,), eV; None, with the reason in ``skipped``, if one failed."""
    frames = list(frames)
    try:
        rows = predict_frames(potential, frames, want=("energy",))
    except MlffError as error:
        if skipped is not None:
            # Without the index of the frame, so that equal reasons are counted together.
            skipped[first_line(error).split(": ", 1)[-1]] += 1
        return None
    return np.array([row["energy"] for row in rows])


def _add(
    metrics: dict[str, float | int | None], name: str, values: Array, reduce: Callable[[Array], Any] = np.mean
) -> None:
    """Add a metric over the finite values; None if there are none."""
    values = values[np.isfinite(values)]
    metrics[name] = _plain(reduce(values)) if len(values) else None


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
