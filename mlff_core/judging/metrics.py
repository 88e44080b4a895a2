"""Metrics of the errors of predicted labels, each defined once, from sums that can be added.

Over 300 lines, in one file because all metrics are computed from the same sums.

Errors are first summed for each owner (a structure, an element, …), then metrics are computed from the sums: the same
code gives the metric of a data set read in pieces, of one kind of geometry, and of a bootstrap resample. Definitions,
with y the reference, ŷ the prediction, e = ŷ − y:

- ``force_r2``: 1 − Σe² / Σ(y − ȳ)² over all Cartesian components of all atoms, ȳ one mean over all of them.
- ``force_mae``, ``force_rmse``: mean of |e|, root of the mean of e², over components, eV/Å.
- ``force_r2_magnitude``: the same R² over the norms |F|: independent of direction, kept for comparison with older
results.
- ``force_angle_mean_deg``, ``force_angle_median_deg``: angle between ŷ and y over atoms whose reference force is above
  :data:`ANGLE_THRESHOLD`; a predicted force of zero counts as 90°.
- ``energy_mae_mev_per_atom``, ``energy_rmse_mev_per_atom``: over structures, of e / n_atoms.
- ``relative_energy_mae_mev_per_atom``: mean of |e − ē| / n_atoms, ē the mean error over the structures of the same
  molecule and composition, so that it does not depend on the zero of energy; molecules with one structure do not count.
- ``stress_mae``: mean of |e| over components, eV/Å³, of periodic structures whose stress is known.
- ``pressure_error_mean_bar``: mean of P̂ − P over the same, P = −tr(stress)/3 without the atoms' motion, bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_core.units import BAR_PER_EV_PER_ANGSTROM3

Array = npt.NDArray[np.float64]

ANGLE_THRESHOLD = 0.1
"""Least reference force of an atom whose angular error counts, eV/Å: smaller ones have no meaningful direction."""

COLUMNS = (
    "n_atoms",
    "component_sum",
    "component_squares",
    "abs_errors",
    "squared_errors",
    "magnitude_sum",
    "magnitude_squared_errors",
    "n_angles",
    "angle_sum",
    "n_structures",
    "energy_abs_errors",
    "energy_squared_errors",
    "n_relative",
    "relative_abs_errors",
    "n_stresses",
    "stress_abs_errors",
    "pressure_errors",
)
"""Names of the sums: forces in eV/Å and its powers, angles in degrees, energies in eV/atom and its powers, stresses in
eV/Å³."""

N_FORCE_COLUMNS = COLUMNS.index("n_structures")
ANGLE_BIN_DEG = 0.01


def angles_deg(reference: npt.ArrayLike, predicted: npt.ArrayLike) -> Array:
    """Return the angle between the two vectors of each atom, shape (n_atoms,), degrees; 90° if one of them is zero.

    Parameters
    ----------
    reference, predicted
        Forces, shape (n_atoms, 3), eV/Å.

    Examples
    --------
    >>> angles_deg([[1, 0, 0]], [[0, 2, 0]]).tolist()
    [90.0]
    """
    y, p = np.asarray(reference, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    sine, cosine = np.linalg.norm(np.cross(y, p), axis=1), np.einsum("ij,ij->i", y, p)
    # arctan2 is accurate for small angles, where arccos loses half the digits.
    angles: Array = np.degrees(np.arctan2(sine, cosine))
    angles[(sine == 0) & (cosine == 0)] = 90.0
    return angles


def force_sums(
    reference: npt.ArrayLike, predicted: npt.ArrayLike, owners: npt.ArrayLike | None = None, n_owners: int = 1
) -> Array:
    """Return the sums over the atoms of each owner, shape (n_owners, n_columns); energy columns are zero.

    Parameters
    ----------
    reference, predicted
        Forces, shape (n_atoms, 3), eV/Å.
    owners
        The owner of each atom, shape (n_atoms,); None: one owner.
    n_owners
        Number of owners.
    """
    y, p = np.asarray(reference, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    owner = np.zeros(len(y), dtype=np.int64) if owners is None else np.asarray(owners, dtype=np.int64)
    error = p - y
    length = np.linalg.norm(y, axis=1)
    counted = length > ANGLE_THRESHOLD
    angle = np.where(counted, angles_deg(y, p), 0.0)
    per_atom = {
        "n_atoms": np.ones(len(y)),
        "component_sum": y.sum(axis=1),
        "component_squares": (y * y).sum(axis=1),
        "abs_errors": np.abs(error).sum(axis=1),
        "squared_errors": (error * error).sum(axis=1),
        "magnitude_sum": length,
        "magnitude_squared_errors": (np.linalg.norm(p, axis=1) - length) ** 2,
        "n_angles": counted.astype(np.float64),
        "angle_sum": angle,
    }
    sums = np.zeros((n_owners, len(COLUMNS)))
    for name, values in per_atom.items():
        sums[:, COLUMNS.index(name)] = np.bincount(owner, weights=values, minlength=n_owners)
    return sums


def energy_sums(errors: npt.ArrayLike, n_atoms: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Array:
    """Return the sums of each structure, shape (n_structures, n_columns); force columns are zero.

    Parameters
    ----------
    errors
        Predicted minus reference energy, shape (n_structures,), eV.
    n_atoms
        Atoms of each structure, shape (n_structures,).
    groups
        Structures whose energies may be compared (same molecule, same composition) share a number, shape
        (n_structures,); None: each is its own group.
    """
    per_atom = np.asarray(errors, dtype=np.float64) / np.asarray(n_atoms, dtype=np.float64)
    sums = np.zeros((len(per_atom), len(COLUMNS)))
    sums[:, COLUMNS.index("n_structures")] = 1.0
    sums[:, COLUMNS.index("energy_abs_errors")] = np.abs(per_atom)
    sums[:, COLUMNS.index("energy_squared_errors")] = per_atom**2
    if groups is not None and len(per_atom):
        _, group, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
        mean = np.bincount(group, weights=per_atom) / counts
        shared = counts[group] > 1
        sums[:, COLUMNS.index("n_relative")] = shared
        sums[:, COLUMNS.index("relative_abs_errors")] = np.where(shared, np.abs(per_atom - mean[group]), 0.0)
    return sums


def stress_sums(errors: npt.ArrayLike) -> Array:
    """Return the sums of each structure, shape (n_structures, n_columns); other columns are zero.

    Parameters
    ----------
    errors
        Predicted minus reference stress, shape (n_structures, 3, 3), eV/Å³; NaN where there is none.
    """
    error = np.asarray(errors, dtype=np.float64)
    known = np.isfinite(error).all(axis=(1, 2))
    sums = np.zeros((len(error), len(COLUMNS)))
    sums[:, COLUMNS.index("n_stresses")] = known
    sums[known, COLUMNS.index("stress_abs_errors")] = np.abs(error[known]).mean(axis=(1, 2))
    sums[known, COLUMNS.index("pressure_errors")] = -np.trace(error[known], axis1=1, axis2=2) / 3.0
    return sums


def metrics_of(sums: npt.ArrayLike) -> dict[str, Any]:
    """Return every metric except the median angle from sums; NaN where nothing was counted.

    Parameters
    ----------
    sums
        Shape (…, n_columns), units as in :data:`COLUMNS` (eV, eV/Å and their squares); each metric then has shape (…).

    Examples
    --------
    >>> got = metrics_of(force_sums([[3.0, 0, 0], [-3.0, 0, 0]], [[2.0, 0, 0], [-3.0, 0, 0]])[0])
    >>> round(float(got["force_mae"]), 4), round(float(got["force_r2"]), 4)
    (0.1667, 0.9444)
    """
    array = np.asarray(sums, dtype=np.float64)
    s = {name: array[..., k] for k, name in enumerate(COLUMNS)}
    n_components = 3.0 * s["n_atoms"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "force_r2": _r2(s["squared_errors"], s["component_squares"], s["component_sum"], n_components),
            "force_mae": s["abs_errors"] / n_components,
            "force_rmse": np.sqrt(s["squared_errors"] / n_components),
            "force_r2_magnitude": _r2(
                s["magnitude_squared_errors"], s["component_squares"], s["magnitude_sum"], s["n_atoms"]
            ),
            "force_angle_mean_deg": s["angle_sum"] / s["n_angles"],
            "energy_mae_mev_per_atom": 1e3 * s["energy_abs_errors"] / s["n_structures"],
            "energy_rmse_mev_per_atom": 1e3 * np.sqrt(s["energy_squared_errors"] / s["n_structures"]),
            "relative_energy_mae_mev_per_atom": 1e3 * s["relative_abs_errors"] / s["n_relative"],
            "stress_mae": s["stress_abs_errors"] / s["n_stresses"],
            "pressure_error_mean_bar": BAR_PER_EV_PER_ANGSTROM3 * s["pressure_errors"] / s["n_stresses"],
        }


def r_squared(reference: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return R² of one set of numbers; NaN where the reference does not vary.

    Parameters
    ----------
    reference, predicted
        Shape (n,), both in the same unit, such as eV/Å.

    Examples
    --------
    >>> r_squared([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    y, p = np.asarray(reference, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    return float(_r2(np.square(p - y).sum(), np.square(y).sum(), y.sum(), np.asarray(float(y.size))))


def _r2(squared_errors: Array, squares: Array, total: Array, n: Array) -> Array:
    spread = squares - total**2 / n
    # A variance that is only rounding error (all forces equal) would give a meaningless number.
    return np.where(spread > 1e-12 * squares, 1.0 - squared_errors / spread, np.nan)


def force_metrics(reference: npt.ArrayLike, predicted: npt.ArrayLike) -> dict[str, float]:
    """Return the force metrics of one set of atoms, including the median angle.

    Parameters
    ----------
    reference, predicted
        Forces, shape (n_atoms, 3), eV/Å.
    """
    y = np.asarray(reference, dtype=np.float64)
    found = {name: float(value) for name, value in metrics_of(force_sums(y, predicted)[0]).items() if "force" in name}
    counted = np.linalg.norm(y, axis=1) > ANGLE_THRESHOLD
    angles = angles_deg(y, predicted)[counted]
    found["force_angle_median_deg"] = float(np.median(angles)) if len(angles) else float("nan")
    return found


def angle_histogram(reference: npt.ArrayLike, predicted: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return how many atoms above the threshold are in each bin of :data:`ANGLE_BIN_DEG` from 0 to 180 degrees.

    Parameters
    ----------
    reference, predicted
        Forces, shape (n_atoms, 3), eV/Å.
    """
    y = np.asarray(reference, dtype=np.float64)
    counted = np.linalg.norm(y, axis=1) > ANGLE_THRESHOLD
    n_bins = round(180.0 / ANGLE_BIN_DEG)
    bins = np.minimum((angles_deg(y, predicted)[counted] / ANGLE_BIN_DEG).astype(np.int64), n_bins - 1)
    return np.bincount(bins, minlength=n_bins)


def histogram_median_deg(counts: npt.NDArray[np.int64]) -> float:
    """Return the median of an :func:`angle_histogram`, shape (n_bins,), degrees; NaN if it is empty."""
    total = int(counts.sum())
    if total == 0:
        return float("nan")
    return float((np.searchsorted(np.cumsum(counts), 0.5 * total) + 0.5) * ANGLE_BIN_DEG)


def bootstrap_intervals(
    sums: npt.ArrayLike, *, n_resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of every metric when whole molecules are resampled with replacement.

    NaN for a single molecule, which has no interval.

    Structures of a molecule are correlated, so intervals over structures or atoms would be too narrow.
    B. Efron, R. Tibshirani, *An Introduction to the Bootstrap* (1993), ch. 13.

    Parameters
    ----------
    sums
        One row for each molecule, shape (n_molecules, n_columns), units as in :data:`COLUMNS` (eV, eV/Å and squares).
    n_resamples
        Number of resamples.
    level
        Share of the resamples inside the interval.
    seed
        Seed of the resampling.
    """
    rows = np.asarray(sums, dtype=np.float64)
    rng = np.random.default_rng(seed)
    n = len(rows)
    drawn = np.empty((n_resamples, rows.shape[1]))
    for k in range(n_resamples):
        drawn[k] = np.bincount(rng.integers(n, size=n), minlength=n) @ rows
    tails = [50.0 * (1.0 - level), 50.0 * (1.0 + level)]
    intervals = {}
    for name, values in metrics_of(drawn).items():
        finite = values[np.isfinite(values)]
        # Resampling one molecule gives the same molecule: there is no variance to estimate.
        low, high = np.percentile(finite, tails) if len(finite) and n > 1 else (np.nan, np.nan)
        intervals[name] = (float(low), float(high))
    return intervals


def rounded(values: Mapping[str, Any], digits: int = 6) -> dict[str, float | None]:
    """Return numbers ready for JSON, with ``digits`` significant digits; None for numbers that are not finite."""
    return {name: _number(value, digits) for name, value in values.items()}


def _number(value: Any, digits: int) -> float | None:
    number = float(value)
    return float(f"{number:.{digits}g}") if np.isfinite(number) else None
