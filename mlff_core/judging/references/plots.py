"""Plots of models against a reference set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlff_core.judging.references.compare import Comparison
from mlff_core.judging.report.plots import canvas, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(comparisons: Sequence[Comparison]) -> Figure:
    """Return the errors of several models on one set, as a figure.

    For complexes: MAE against distance, and the interactions at equilibrium against the reference. For conformers: the
    distribution of R² over the molecules, and the MAE of each against the spread of its reference energies.

    Parameters
    ----------
    comparisons
        Comparisons of several models with the same set.
    """
    figure = canvas(10.0, 4.4)
    left, right = figure.subplots(1, 2)
    if comparisons[0].rows and "interaction_kcal_mol" in comparisons[0].rows[0]:
        for one in comparisons:
            scaling, reference, found = (
                np.array([np.nan if row[key] is None else row[key] for row in one.rows], dtype=np.float64)
                for key in ("scaling", "reference_kcal_mol", "interaction_kcal_mol")
            )
            distances = np.unique(scaling)
            errors = [np.nanmean(np.abs(found - reference)[scaling == distance]) for distance in distances]
            left.plot(distances, errors, marker="o", markersize=4, label=one.model)
            at_equilibrium = np.isclose(scaling, 1.0)
            right.scatter(reference[at_equilibrium], found[at_equilibrium], s=9, alpha=0.6, label=one.model)
        left.set(xlabel="distance / equilibrium distance", ylabel="MAE, kcal/mol", ylim=(0, None))
        low, high = right.get_xlim()
        right.plot([low, high], [low, high], color="#8a8f98", linewidth=1)
        right.set(xlabel="reference interaction, kcal/mol", ylabel="model, kcal/mol")
    else:
        bins = np.linspace(0, 1, 21)
        for one in comparisons:
            r2 = [row["r2"] for row in one.rows if row["r2"] is not None]
            left.hist(r2, bins=bins, histtype="step", linewidth=1.6, label=one.model)
            right.scatter(
                [row["spread_kcal_mol"] for row in one.rows], [row["mae_kcal_mol"] for row in one.rows], s=9, alpha=0.5
            )
        left.set(xlabel="R² of relative energies within a molecule", ylabel="molecules")
        right.set(xlabel="spread of the reference energies, kcal/mol", ylabel="MAE, kcal/mol", ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    for axis in (left, right):
        tidy(axis)
    figure.suptitle(comparisons[0].set_name)
    return figure
