"""Name, unit and definition of each metric, for tables and pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

OLDER = "older convention"
"""Shown instead of a unit, and at the end of a check's name."""


class Metric(NamedTuple):
    """Name, unit and definition of a metric, for people."""

    label: str
    unit: str
    definition: str


METRICS: dict[str, Metric] = {
    "force_mae": Metric("force MAE", "eV/Å", "mean of |F(model) − F(teacher)| over Cartesian components"),
    "force_rmse": Metric("force RMSE", "eV/Å", "root of the mean square error over Cartesian components"),
    "force_r2": Metric(
        "force R²", "", "1 − Σ(error²) / Σ(F − mean F)² over the Cartesian components of all atoms, one mean for all"
    ),
    "force_angle_mean_deg": Metric(
        "mean angle", "°", "between the two forces on an atom, over atoms whose teacher force is above 0.1 eV/Å"
    ),
    "force_angle_median_deg": Metric("median angle", "°", "median of the same angles"),
    "energy_mae_mev_per_atom": Metric(
        "energy MAE", "meV/atom", "mean over structures of |E(model) − E(teacher)| / atoms"
    ),
    "energy_rmse_mev_per_atom": Metric("energy RMSE", "meV/atom", "root of the mean square of the same"),
    "relative_energy_mae_mev_per_atom": Metric(
        "relative E MAE",
        "meV/atom",
        "energy errors less their mean over the structures of a molecule (same composition), then the mean absolute "
        "value per atom: independent of the zero of energy",
    ),
    "stress_mae": Metric("stress MAE", "eV/Å³", "mean over components of the stress of periodic structures"),
    "pressure_error_mean_bar": Metric(
        "pressure error", "bar", "mean of P(model) − P(teacher) over the same, P = −tr(stress)/3, with its sign"
    ),
    "force_r2_magnitude": Metric(
        "R² of |force|",
        OLDER,
        "R² over the norms of the forces, independent of their directions",
    ),
}
"""Metrics in the order of tables; the keys are those of the JSON."""


def measured(*found: Mapping[str, float | int | None]) -> list[tuple[str, Metric]]:
    """Return keys and metrics, in order, for which at least one of several results has a number."""
    return [(key, metric) for key, metric in METRICS.items() if any(one.get(key) is not None for one in found)]


def number(value: float | int | None) -> str:
    """Return a number with four significant digits, or a dash for None.

    Examples
    --------
    >>> number(0.123456), number(12), number(None)
    ('0.1235', '12', '–')
    """
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
