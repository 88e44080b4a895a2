"""What the physics checks found."""

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
    """One figure of the suite.

    Parameters
    ----------
    name
        What was checked.
    value
        What was found; None where the check broke off.
    unit
        Of the value.
    limit
        Largest size that passes; None for a figure that is reported but not judged.
    definition
        What the value is, or why there is none.
    """

    name: str
    value: float | None
    unit: str
    limit: float | None
    definition: str

    @property
    def passed(self) -> bool | None:
        """True or False against the limit; None where there is no limit."""
        if self.limit is None:
            return None
        return self.value is not None and abs(self.value) <= self.limit


@dataclass(frozen=True, eq=False)
class NVERun:
    """One energy-conservation run: what was ``found``, or the reason why it broke off."""

    system: str
    precision: str
    periodic: bool
    found: EnergyDrift | str


@dataclass(eq=False)
class PhysicsReport:
    """What the suite found.

    Parameters
    ----------
    checks
        A figure each.
    runs
        Energy conservation, run by run.
    frequencies
        By molecule: (the potential's, the reference's), 1/cm; the reference's is empty without one.
    torsions
        By molecule and bond.
    dimers
        A curve for each pair of elements.
    """

    checks: list[Check] = field(default_factory=list)
    runs: list[NVERun] = field(default_factory=list)
    frequencies: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    torsions: dict[str, TorsionScan] = field(default_factory=dict)
    dimers: list[DimerCurve] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True if no check failed."""
        return all(check.passed is not False for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain dicts, lists, strings and numbers; curves are left to the figures."""
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
    figures = {name: getattr(run.found, name) for name in (*names, "length_ps", "temperature")}
    return {**about, **rounded(figures)}
