"""The six-panel force analysis and the reliability plot, as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core.judging import metrics
from mlff_core.judging.outcome import Evaluation
from mlff_core.plugins.requirements import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#2f6db5", "#d9772b", "#3a8f5c", "#8a8f98"
COMPONENT_COLOURS = (BLUE, ORANGE, GREEN)
N_SCATTER = 4000


def require_plots() -> None:
    """Check that matplotlib is installed.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    require("plots", ("matplotlib>=3.8",), "pip install 'mlff-hub[train]'")


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure, size in inches, without a window and without changing global settings.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    require_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def force_figure(evaluation: Evaluation) -> Figure:
    """Return the six panels: magnitudes, error per atom, components, angles, elements, error against distance.

    The last panel is against the reference energy above the molecule's lowest structure, or against the norm of the
    force if the data set names no molecules.
    """
    figure = canvas(15, 9)
    axes = figure.subplots(2, 3)
    _magnitudes(axes[0, 0], evaluation)
    _errors(axes[0, 1], evaluation)
    _components(axes[0, 2], evaluation)
    _angles(axes[1, 0], evaluation)
    _elements(axes[1, 1], evaluation)
    _distance(axes[1, 2], evaluation)
    for axis in axes.flat:
        tidy(axis)
    return figure


def reliability_figure(evaluation: Evaluation) -> Figure | None:
    """Return a plot of the share of errors inside each interval against its level; None without deviations."""
    curves = evaluation.reliability
    if not curves:
        return None
    figure = canvas(5.6, 4.6)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for (name, shares), colour in zip(curves.items(), (BLUE, ORANGE), strict=False):
        axis.plot([float(level) for level in shares], list(shares.values()), "o-", color=colour, label=name)
    axis.set_xlabel("level of the interval")
    axis.set_ylabel("share of errors inside")
    axis.set_title("Reliability of the predicted deviations")
    axis.legend(frameon=False, loc="upper left")
    tidy(axis)
    return figure


def tidy(axis: Any) -> None:
    """Remove the upper and right frame of an axis and draw a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e6e8eb", linewidth=0.7)
    axis.set_axisbelow(True)


def _magnitudes(axis: Any, evaluation: Evaluation) -> None:
    reference = np.linalg.norm(evaluation.sample.reference, axis=1)
    predicted = np.linalg.norm(evaluation.sample.predicted, axis=1)
    top = float(np.percentile(np.concatenate([reference, predicted]), 99.8)) or 1.0
    axis.hexbin(
        reference, predicted, gridsize=60, extent=(0, top, 0, top), bins="log", mincnt=1, cmap="Blues", linewidths=0
    )
    axis.plot([0, top], [0, top], color=GREY, linewidth=1)
    found = evaluation.metrics
    axis.set_title(
        f"Size of the force: R² {_text(found['force_r2_magnitude'])} (by component {_text(found['force_r2'])})"
    )
    axis.set_xlabel("teacher |F|, eV/Å")
    axis.set_ylabel("model |F|, eV/Å")


def _errors(axis: Any, evaluation: Evaluation) -> None:
    error = _atom_errors(evaluation)
    low, high = np.percentile(error, [0.2, 99.9])
    axis.hist(error, bins=np.geomspace(max(low, 1e-6), max(high, 2e-6), 60), color=BLUE)
    axis.set_xscale("log")
    for quantile, style in ((50, "-"), (95, "--")):
        value = float(np.percentile(error, quantile))
        axis.axvline(value, color=ORANGE, linestyle=style, label=f"{quantile} % below {value:.3g} eV/Å")
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])  # room for the legend
    axis.legend(frameon=False, loc="upper left")
    axis.set_title("Error of the force on an atom")
    axis.set_xlabel("|F(model) − F(teacher)|, eV/Å")
    axis.set_ylabel("atoms")


def _components(axis: Any, evaluation: Evaluation) -> None:
    reference, predicted = evaluation.sample.reference[:N_SCATTER], evaluation.sample.predicted[:N_SCATTER]
    top = float(np.percentile(np.abs(reference), 99.8)) or 1.0
    for k, name in enumerate("xyz"):
        r2 = metrics.r_squared(evaluation.sample.reference[:, k], evaluation.sample.predicted[:, k])
        axis.plot(
            reference[:, k], predicted[:, k], ".", markersize=2.5, alpha=0.5, color=COMPONENT_COLOURS[k],
            label=f"{name}: R² {r2:.4f}", rasterized=True,
        )  # fmt: skip
    axis.plot([-top, top], [-top, top], color=GREY, linewidth=1)
    axis.set_xlim(-top, top)
    axis.set_ylim(-top, top)
    axis.legend(frameon=False, loc="upper left", markerscale=4)
    axis.set_title("Components")
    axis.set_xlabel("teacher, eV/Å")
    axis.set_ylabel("model, eV/Å")


def _angles(axis: Any, evaluation: Evaluation) -> None:
    per_degree = evaluation.angles.reshape(180, -1).sum(axis=1)
    axis.bar(np.arange(180) + 0.5, per_degree / max(per_degree.sum(), 1), width=1.0, color=BLUE)
    mean, median = evaluation.metrics["force_angle_mean_deg"], evaluation.metrics["force_angle_median_deg"]
    for value, style, name in ((mean, "--", "mean"), (median, "-", "median")):
        if value is not None:
            axis.axvline(value, color=ORANGE, linestyle=style, label=f"{name} {value:.3g}°")
            axis.legend(frameon=False, loc="upper right")
    reach = np.flatnonzero(np.cumsum(per_degree) >= 0.97 * per_degree.sum())
    axis.set_xlim(0, max(10, int(reach[0]) + 1))
    axis.set_title(f"Angle between forces (atoms above {metrics.ANGLE_THRESHOLD:g} eV/Å)")
    axis.set_xlabel("degrees")
    axis.set_ylabel("share of atoms per degree")


def _elements(axis: Any, evaluation: Evaluation) -> None:
    rows = evaluation.by_element
    place = np.arange(len(rows))
    for shift, key, colour, name in ((-0.2, "force_mae", BLUE, "MAE"), (0.2, "force_rmse", ORANGE, "RMSE")):
        axis.bar(place + shift, [row[key] or 0.0 for row in rows.values()], width=0.4, color=colour, label=name)
    axis.set_xticks(place, [f"{symbol}\n{row['n_atoms']}" for symbol, row in rows.items()])
    axis.legend(frameon=False, loc="upper left")
    axis.set_title("Elements (below: number of atoms)")
    axis.set_ylabel("error by component, eV/Å")


def _distance(axis: Any, evaluation: Evaluation) -> None:
    error = _atom_errors(evaluation)
    above = 1e3 * evaluation.table.energy_above_lowest()[evaluation.sample.row]
    known = np.isfinite(above)
    if known.sum() > 100:
        x, y = above[known], error[known]
        axis.set_xlabel("energy above the molecule's lowest, meV/atom")
        axis.set_title("Error against distance from equilibrium")
    else:
        x, y = np.linalg.norm(evaluation.sample.reference, axis=1), error
        axis.set_xlabel("teacher |F|, eV/Å")
        axis.set_title("Error against the size of the force")
    edges = np.unique(np.quantile(x, np.linspace(0, 0.995, 16)))
    which = np.digitize(x, edges)
    bins = [k for k in range(1, len(edges)) if (which == k).sum() >= 5]
    if bins:
        centre = [float(np.median(x[which == k])) for k in bins]
        low, middle, high = np.array([np.percentile(y[which == k], [10, 50, 90]) for k in bins]).T
        axis.fill_between(centre, low, high, color=BLUE, alpha=0.2, label="10 to 90 %")
        axis.plot(centre, middle, "o-", color=BLUE, markersize=4, label="median")
        axis.legend(frameon=False, loc="upper left")
    axis.set_ylim(bottom=0)
    axis.set_ylabel("|F(model) − F(teacher)|, eV/Å")


def _atom_errors(evaluation: Evaluation) -> metrics.Array:
    error: metrics.Array = np.linalg.norm(evaluation.sample.predicted - evaluation.sample.reference, axis=1)
    return error


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
