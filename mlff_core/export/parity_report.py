"""The result of ``mlff parity``: a row for each structure and engine, and the versions used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from mlff_core.plugins.provider import Provider
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.difference import differences
from mlff_core.structures.prediction import Prediction
from mlff_core.tolerance import Tolerance


@dataclass(frozen=True)
class ParityRow:
    """One structure through one engine, runtime or export."""

    engine: str
    """Its name."""
    case: str
    """Name of the structure."""
    status: str
    """``"ok"``, ``"fail"``, ``"unsupported"`` or ``"missing"``."""
    delta_energy_mev_per_atom: float | None = None
    """Largest difference from ``predict``, meV/atom."""
    delta_forces: float | None = None
    """Largest difference of a component, eV/Å."""
    delta_stress: float | None = None
    """Largest difference of a component, eV/Å³; None where there is no stress."""
    ms: float | None = None
    """Median wall time of a call, ms, units and engine included."""
    delta_charges: float | None = None
    """Largest difference of an atom's charge, e; None where the model or the engine gives no charges."""
    message: str = ""
    """Why it failed or is unsupported."""


@dataclass(frozen=True)
class ParityReport:
    """The certificate."""

    model: str
    """Name on the model's card."""
    sha256: str
    """Of the model file."""
    versions: dict[str, str]
    """Of this package and of every package that an engine needs."""
    rows: tuple[ParityRow, ...]
    """One for each engine and structure."""
    reduced: frozenset[str] = frozenset()
    """Names of the variants with reduced accuracy, which have a tolerance of their own."""

    @property
    def ok(self) -> bool:
        """Whether at least one row was compared and none failed."""
        statuses = {row.status for row in self.rows}
        return "fail" not in statuses and "ok" in statuses

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as ``mlff parity --json`` prints them."""
        return {
            "model": self.model,
            "sha256": self.sha256,
            "versions": self.versions,
            "rows": [asdict(row) for row in self.rows],
            "ok": self.ok,
        }


def compared_row(
    name: str,
    case: str,
    batch: AtomicBatch,
    wanted: Prediction,
    found: Prediction,
    tolerance: Tolerance,
    ms: float,
) -> ParityRow:
    """Return the row of a structure that was computed, compared within a tolerance.

    Raises
    ------
    InputError
        Forces or stress have the wrong shape.
    """
    if wanted.charges is not None and found.charges is None:
        return ParityRow(name, case, "fail", message="no charges were returned", ms=ms)
    if wanted.forces is None or found.forces is None:
        return ParityRow(name, case, "fail", message="no forces were returned", ms=ms)
    compared = {difference.quantity: difference for difference in differences(found, wanted, batch)}
    compared.pop("atom_energies", None)
    wrong = [
        f"{quantity} off by {difference.largest:.1e} {difference.unit}, at most {difference.allowed(tolerance):.1e}"
        for quantity, difference in compared.items()
        if not difference.is_within(tolerance)
    ]
    return ParityRow(
        name,
        case,
        "fail" if wrong else "ok",
        1e3 * compared["energy"].largest,
        compared["forces"].largest,
        compared["stress"].largest if "stress" in compared else None,
        ms,
        compared["charges"].largest if "charges" in compared else None,
        "; ".join(wrong),
    )


def versions_of(providers: Sequence[Provider]) -> dict[str, str]:
    """Return the versions of this package, of its main dependencies, and of the packages that the providers need."""
    packages = {"mlff-hub", "torch", "numpy", "ase", "vesin"}
    packages |= {Requirement(text).name for provider in providers for text in provider.requires}
    return {package: _version(package) for package in sorted(packages)}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
