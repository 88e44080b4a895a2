"""Rows of an HDF5 data set that belong to some structures, in as few reads as possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_core.data.structure import Array

GAP = 2048
"""Largest gap, in rows, between two wanted rows that are read together: about half an HDF5 chunk."""


def read_rows(source: Any, wanted: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64] | None) -> Array:
    """Return the rows of the wanted structures, in their order.

    Parameters
    ----------
    source
        The HDF5 data set.
    wanted
        Indices of structures, in any order, repeats allowed, shape (n_wanted,).
    offsets
        Where the atoms of each structure begin, shape (n_structures + 1,); None for one row per structure.
    """
    rising, inverse = np.unique(wanted, return_inverse=True)
    starts, stops = (rising, rising + 1) if offsets is None else (offsets[rising], offsets[rising + 1])
    breaks = np.flatnonzero(starts[1:] - stops[:-1] > GAP) + 1
    pieces = []
    for group in np.split(np.arange(len(rising)), breaks):
        first = int(starts[group[0]])
        block = source[first : int(stops[group[-1]])]
        pieces.append(block[_ranges(starts[group] - first, stops[group] - first)])
    rows = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    if len(rising) == len(wanted) and bool((wanted[1:] > wanted[:-1]).all()):
        return np.asarray(rows)
    lengths = stops - starts
    ends = np.cumsum(lengths)
    return np.asarray(rows[_ranges((ends - lengths)[inverse], ends[inverse])])


def _ranges(starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return all integers of several half-open ranges, one range after the other."""
    lengths = stops - starts
    shift = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return np.asarray(np.arange(int(lengths.sum())) + shift)
