"""The result of evaluating a potential on a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from mlff_core.card import ModelCard
from mlff_core.judging import metrics
from mlff_core.judging.metrics import Array
from mlff_core.potentials.ensemble import coverage

N_WORST = 10
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of the reliability curve."""

BY_ELEMENT = ("force_mae", "force_rmse", "force_r2", "force_angle_mean_deg")
BY_KIND = (*BY_ELEMENT, "energy_mae_mev_per_atom", "relative_energy_mae_mev_per_atom")


@dataclass(frozen=True, eq=False)
class StructureTable:
    """A row for each evaluated structure, in the order of the data set."""

    index: npt.NDArray[np.int64]
    """Index in the data set, shape (n_structures,)."""
    n_atoms: npt.NDArray[np.int64]
    """Number of atoms, shape (n_structures,)."""
    molecule: npt.NDArray[np.int64]
    """Number of the molecule, shape (n_structures,)."""
    group: npt.NDArray[np.int64]
    """Group of structures with the same molecule and composition, shape (n_structures,)."""
    kind: npt.NDArray[np.int64]
    """Code of the kind of geometry, shape (n_structures,)."""
    energy: Array
    """Reference energy, shape (n_structures,), eV."""
    energy_error: Array
    """Predicted minus reference energy, shape (n_structures,), eV."""
    sums: Array
    """Force and energy sums, shape (n_structures, n_columns), see :data:`mlff_core.judging.metrics.COLUMNS`."""
    energy_std: Array | None = None
    """Predicted standard deviation, shape (n_structures,), eV; None where the potential gives none."""

    def energy_above_lowest(self) -> Array:
        """Return the reference energy above the lowest of the group, shape (n_structures,), eV/atom.

        A measure of the distance from equilibrium without alignment; NaN where a group has one structure.
        """
        _, group, counts = np.unique(self.group, return_inverse=True, return_counts=True)
        lowest = np.full(len(counts), np.inf)
        np.minimum.at(lowest, group, self.energy)
        above: Array = (self.energy - lowest[group]) / self.n_atoms
        return np.where(counts[group] > 1, above, np.nan)


@dataclass(frozen=True, eq=False)
class AtomSample:
    """A uniform random sample of all evaluated atoms, for plots."""

    reference: Array
    predicted: Array
    """Forces, shape (n, 3), eV/Å."""
    atomic_numbers: npt.NDArray[np.int64]
    """Shape (n,)."""
    row: npt.NDArray[np.int64]
    """Row of the atom's structure in the table, shape (n,)."""
    forces_std: Array | None = None
    """Predicted standard deviation, shape (n, 3), eV/Å; None where the potential gives none."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Errors of one potential on one data set, and the metrics computed from them."""

    card: ModelCard
    """Card of the potential."""
    data: Mapping[str, Any]
    """``file``, ``sha256``, ``split``, ``teacher``, ``licence`` of the data set."""
    kinds: tuple[str, ...]
    """Names of the kinds of geometry by code."""
    table: StructureTable
    """A row for each structure."""
    element_sums: Array
    """Force sums of each atomic number, shape (119, n_columns)."""
    angles: npt.NDArray[np.int64]
    """Histogram of angular errors, see :func:`mlff_core.judging.metrics.angle_histogram`."""
    sample: AtomSample
    """Sample of atoms for plots."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of structures that could not be evaluated, by reason."""
    seconds: float = 0.0
    """Wall time of reading and predicting."""

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """Every metric over all structures; units are in the names, force errors without one are in eV/Å."""
        found = dict(metrics.metrics_of(self.table.sums.sum(axis=0)))
        found["force_angle_median_deg"] = metrics.histogram_median_deg(self.angles)
        return metrics.rounded(found)

    @cached_property
    def intervals(self) -> dict[str, tuple[float | None, float | None]]:
        """95 % interval of every metric except the median angle, by bootstrap over molecules."""
        _, molecule = np.unique(self.table.molecule, return_inverse=True)
        sums = np.stack([np.bincount(molecule, weights=column) for column in self.table.sums.T], axis=1)
        found = metrics.bootstrap_intervals(sums)
        low = metrics.rounded({name: interval[0] for name, interval in found.items()})
        high = metrics.rounded({name: interval[1] for name, interval in found.items()})
        return {name: (low[name], high[name]) for name in found}

    @cached_property
    def by_element(self) -> dict[str, dict[str, float | int | None]]:
        """Force metrics of each element that occurs, by chemical symbol."""
        counts = self.element_sums[:, metrics.COLUMNS.index("n_atoms")].astype(int)
        return {
            chemical_symbols[z]: {"n_atoms": int(counts[z]), **_chosen(self.element_sums[z], BY_ELEMENT)}
            for z in np.flatnonzero(counts)
        }

    @cached_property
    def by_kind(self) -> dict[str, dict[str, float | int | None]]:
        """Metrics of each kind of geometry that occurs, by its name."""
        return {
            self.kinds[code]: {
                "n_structures": int((self.table.kind == code).sum()),
                **_chosen(self.table.sums[self.table.kind == code].sum(axis=0), BY_KIND),
            }
            for code in np.unique(self.table.kind)
        }

    @cached_property
    def reliability(self) -> dict[str, dict[str, float]]:
        """Share of errors inside each interval, for ``forces`` and ``energy``, by level; empty without deviations."""
        found = {}
        if self.sample.forces_std is not None:
            errors = self.sample.predicted - self.sample.reference
            found["forces"] = _reliability(errors.reshape(-1), self.sample.forces_std.reshape(-1))
        if self.table.energy_std is not None:
            found["energy"] = _reliability(self.table.energy_error, self.table.energy_std)
        return found

    def worst_rows(self, n: int = N_WORST) -> npt.NDArray[np.int64]:
        """Return the rows of the structures with the largest force RMSE, worst first."""
        rmse = metrics.metrics_of(self.table.sums)["force_rmse"]
        return np.argsort(-rmse, kind="stable")[:n]

    @cached_property
    def worst(self) -> list[dict[str, Any]]:
        """The structures with the largest force RMSE: ``index`` in the data set, ``kind`` and metrics."""
        rmse = metrics.metrics_of(self.table.sums)["force_rmse"]
        return [
            {
                "index": int(self.table.index[row]),
                "kind": self.kinds[self.table.kind[row]],
                "n_atoms": int(self.table.n_atoms[row]),
                **metrics.rounded(
                    {
                        "force_rmse": rmse[row],
                        "energy_error_mev_per_atom": 1e3 * self.table.energy_error[row] / self.table.n_atoms[row],
                    }
                ),
            }
            for row in self.worst_rows()
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all metrics as plain dicts, lists, strings and numbers."""
        return {
            "model": {
                "name": self.card.name,
                "architecture": self.card.architecture,
                "n_parameters": self.card.n_parameters,
                "cutoff": self.card.cutoff,
                "elements": list(self.card.symbols),
            },
            "data": dict(self.data),
            "n_structures": len(self.table.index),
            "n_atoms": int(self.table.n_atoms.sum()),
            "n_molecules": len(np.unique(self.table.molecule)),
            "n_skipped": sum(self.skipped.values()),
            "skipped": dict(self.skipped),
            **self.metrics,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "interval_definition": "95 % percentile bootstrap over molecules",
            "by_element": self.by_element,
            "by_kind": self.by_kind,
            "worst": self.worst,
            "reliability": self.reliability,
            "seconds": round(self.seconds, 3),
        }


def _reliability(errors: Array, stds: Array) -> dict[str, float]:
    shares = coverage(errors, stds, LEVELS)
    return {f"{level:g}": round(float(share), 4) for level, share in zip(LEVELS, shares, strict=True)}


def _chosen(sums: Array, names: tuple[str, ...]) -> dict[str, float | None]:
    found = metrics.metrics_of(sums)
    return metrics.rounded({name: found[name] for name in names})
