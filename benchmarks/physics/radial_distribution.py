"""The radial distribution of oxygens in water: from positions, from experiment, and differences of two curves."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlff_core.judging.physics.trajectory import Array

BIN = 0.1
"""Å."""
COMPARED = (2.4, 6.2)
"""Å; range in which curves are compared: below it there are no pairs, above it is half the box."""


def goo(oxygens: Array, side: float) -> tuple[Array, Array]:
    """Return (centres of bins, Å; radial distribution of the frames) up to half the side of a cube.

    Parameters
    ----------
    oxygens
        Shape (n_frames, n_molecules, 3), Å.
    side
        Side of the cube, Å.
    """
    n = oxygens.shape[1]
    i, j = np.triu_indices(n, 1)
    edges = np.arange(0.0, side / 2, BIN)
    counts = np.zeros(len(edges) - 1)
    for frame in oxygens:
        apart = frame[i] - frame[j]
        apart -= side * np.round(apart / side)
        counts += np.histogram(np.linalg.norm(apart, axis=1), bins=edges)[0]
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    ideal = 0.5 * n * (n - 1) / side**3 * shells * len(oxygens)
    return 0.5 * (edges[1:] + edges[:-1]), counts / ideal


def experiment() -> tuple[Array, Array] | None:
    """Return the measured g(OO) that mlipaudit 0.1.8 ships (Apache-2.0), r in Å, or None where it is not installed."""
    found = importlib.util.find_spec("mlipaudit")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "app_data" / "water_radial_distribution" / "experimental_reference.npz"
    with np.load(path) as data:
        return data["r_OO"], data["g_OO"]


def mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Return the mean of the curves of a model's independent runs: r, Å, g and its error."""
    error = np.sqrt(np.square([row["g_error"] for row in rows]).sum(axis=0)) / len(rows)
    return {"r": np.array(rows[0]["r"]), "g": np.mean([row["g"] for row in rows], axis=0), "g_error": error}


def compared(r: Array) -> Array:
    """Return a mask of the distances, Å, at which curves are compared."""
    return (r >= COMPARED[0]) & (r <= COMPARED[1])


def mean_difference(r: Array, g: Array, other_r: Array, other_g: Array) -> float:
    """Return the mean absolute difference of two curves at the distances of the first; NaN if none are common."""
    counted = compared(r)
    return float(np.abs(g - np.interp(r, other_r, other_g))[counted].mean()) if counted.any() else float("nan")


def difference(row: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float]:
    """Return (largest difference of two curves, root mean square of the difference over its standard error)."""
    r = np.array(row["r"])
    apart = np.array(row["g"]) - np.array(other["g"])
    error = np.sqrt(np.square(row["g_error"]) + np.square(other["g_error"]))
    counted = compared(r) & (error > 0)
    if not counted.any():
        return float("nan"), float("nan")
    ratio = apart[counted] / error[counted]
    return float(np.abs(apart[counted]).max()), float(np.sqrt(np.mean(ratio**2)))
