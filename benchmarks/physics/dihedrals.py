"""Dihedral angles of trajectories, and their distribution."""

from __future__ import annotations

import numpy as np

from mlff_core.dynamics.state import Array


def dihedral(positions: Array, atoms: tuple[int, int, int, int]) -> Array:
    """Return a dihedral angle of each structure, degrees, for positions (…, n_atoms, 3), Å."""
    a, b, c, d = (positions[..., k, :] for k in atoms)
    first, axis, last = a - b, c - b, d - c
    axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    left = first - (first * axis).sum(-1, keepdims=True) * axis
    right = last - (last * axis).sum(-1, keepdims=True) * axis
    angle: Array = np.degrees(np.arctan2((np.cross(axis, left) * right).sum(-1), (left * right).sum(-1)))
    return angle


def distribution(angles: Array) -> dict[str, list[float]]:
    """Return the density of angles (n_frames, n_runs), 1/degree, in bins of 20°, and its error over the runs."""
    edges = np.linspace(-180, 180, 19)
    each = np.array([np.histogram(own, bins=edges, density=True)[0] for own in angles.T])
    return {
        "angle": (0.5 * (edges[1:] + edges[:-1])).tolist(),
        "density": each.mean(axis=0).tolist(),
        "error": (each.std(axis=0, ddof=1) / np.sqrt(len(each))).tolist(),
    }
