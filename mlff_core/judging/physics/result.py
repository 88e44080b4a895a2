"""Results of the physics checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlff_core.judging.metrics import rounded
from mlff_core.judging.physics.dimer import DimerCurve
from mlff_core.judging.physics.nve import EnergyDrift
from mlff_core.judging.physics.torsion import TorsionScan
from mlff_core.judging.physics.trajectory import Array


@dataclass(frozen=True)
class Check:
    """One value of the suite."""

    name: str
    """Name of the check."""
    value: float | None
    """The measured value; None if the check failed with an error."""
    unit: str
    """Unit of the value."""
    limit: float | None
    """Largest absolute value that passes; None for a value that is reported only."""
    definition: str
    """Definition of the value, or the error."""

    @property
    def passed(self) -> bool | None:
        """True or False against the limit; None without a limit."""
        if self.limit is None:
            return None
        return self.value is not None and abs(self.value) <= self.limit


@dataclass(frozen=True, eq=False)
class NVERun:
    """One energy-conservation run: its result ``found``, or the reason why it stopped."""

    system: str
    precision: str
    periodic: bool
    found: EnergyDrift | str


@dataclass(eq=False)
class PhysicsReport:
    """Results of the suite."""

    checks: list[Check] = field(default_factory=list)
    """The checked values."""
    runs: list[NVERun] = field(default_factory=list)
    """Energy-conservation runs."""
    frequencies: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    """By molecule: (the potential's, the reference's), 1/cm; the latter is empty without a reference."""
    torsions: dict[str, TorsionScan] = field(default_factory=dict)
    """Torsion scans by molecule and bond."""
    dimers: list[DimerCurve] = field(default_factory=list)
    """Curve of each pair of elements."""

    @property
    def passed(self) -> bool:
        """True if no check failed."""
        return all(check.passed is not False for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the values as plain dicts, lists, strings and numbers; curves are only in the plots."""
        return {
            "passed": self.passed,
            "checks": [
                {
                    "name": check.name,
                    "value": None if check.value is None else rounded({"value": check.value})["value"],
                    "unit": check.unit,
                    "limit": check.limit,
                    "passed": check.passed,
                    "definition": check.definition,
                }
                for check in self.checks
            ],
            "nve": [_run_json(run) for run in self.runs],
            "frequencies_per_cm": {
                name: {"model": found.round(2).tolist(), "reference": reference.round(2).tolist()}
                for name, (found, reference) in self.frequencies.items()
            },
            "torsions": {
                name: rounded({"mae_mev": scan.mae_mev, "barrier_error_mev": scan.barrier_error_mev})
                for name, scan in self.torsions.items()
            },
            "dimers": {
                curve.symbols: {"is_repulsive": curve.is_repulsive, **rounded({"hole_depth": curve.hole_depth})}
                for curve in self.dimers
            },
        }


def _run_json(run: NVERun) -> dict[str, Any]:
    about: dict[str, Any] = {"system": run.system, "precision": run.precision, "periodic": run.periodic}
    if isinstance(run.found, str):
        return {**about, "failed": run.found}
    names = ("drift_mev_per_atom_per_ps", "max_deviation_mev_per_atom", "score", "drift_percent_of_total")
    values = {name: getattr(run.found, name) for name in (*names, "length_ps", "temperature")}
    return {**about, **rounded(values)}
