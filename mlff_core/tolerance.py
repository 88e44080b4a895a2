"""How far numbers may be apart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """How far an engine's or a file's numbers may be from ``predict``.

    Parameters
    ----------
    energy
        eV/atom.
    forces
        Relative to the larger of 1 eV/Å and the largest force.
    stress
        eV/Å³.
    """

    energy: float = 2e-5
    forces: float = 2e-5
    stress: float = 1e-6
