"""What each figure is called, its unit and its definition, for tables and pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

OLDER = "older convention"
"""Stands where a unit would, and at the end of a check's name."""


class Figure(NamedTuple):
    """Name, unit and definition of a figure, for people."""

    label: str
    unit: str
    definition: str


FIGURES: dict[str, Figure] = {
    "force_mae": Figure("force MAE", "eV/Å", "mean of |F(model) − F(teacher)| over Cartesian components"),
    "force_rmse": Figure("force RMSE", "eV/Å", "root of the mean square error over Cartesian components"),
    "force_r2": Figure(
        "force R²", "", "1 − Σ(error²) / Σ(F − mean F)² over the Cartesian components of all atoms, one mean for all"
    ),
    "force_angle_mean_deg": Figure(
        "mean angle", "°", "between the two forces on an atom, over atoms whose teacher force is above 0.1 eV/Å"
    ),
    "force_angle_median_deg": Figure("median angle", "°", "median of the same angles"),
    "energy_mae_mev_per_atom": Figure(
        "energy MAE", "meV/atom", "mean over structures of |E(model) − E(teacher)| / atoms"
    ),
    "energy_rmse_mev_per_atom": Figure("energy RMSE", "meV/atom", "root of the mean square of the same"),
    "relative_energy_mae_mev_per_atom": Figure(
        "relative E MAE",
        "meV/atom",
        "energy errors less their mean over the structures of a molecule (same composition), then the mean of the size "
        "per atom: the zero of energy is free",
    ),
    "stress_mae": Figure("stress MAE", "eV/Å³", "mean over components of the stress of periodic structures"),
    "pressure_error_mean_bar": Figure(
        "pressure error", "bar", "mean of P(model) − P(teacher) over the same, P = −tr(stress)/3; its sign is kept"
    ),
    "force_r2_magnitude": Figure(
        "R² of |force|",
        OLDER,
        "R² over the lengths of the forces, whatever their direction",
    ),
}
"""In the order of tables; the keys are those of the JSON."""


def measured(*found: Mapping[str, float | int | None]) -> list[tuple[str, Figure]]:
    """Return keys and figures, in their order, that at least one of several sets of figures has a number for."""
    return [(key, figure) for key, figure in FIGURES.items() if any(one.get(key) is not None for one in found)]


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
