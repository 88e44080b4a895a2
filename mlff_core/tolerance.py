"""How far numbers may be apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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
        eV/Å³ for stresses up to 0.05 eV/Å³ (8 GPa), in proportion for larger ones: rounding grows with them.
    """

    energy: float = 2e-5
    forces: float = 2e-5
    stress: float = 1e-6


def force_scale(forces: Tensor) -> float:
    """Return what a force tolerance is relative to, eV/Å: the largest of ``forces`` (n_atoms, 3), eV/Å, at least 1."""
    return max(1.0, float(forces.abs().max())) if forces.numel() else 1.0


def stress_scale(stress: Tensor) -> float:
    """Return by how much a tolerance grows for this ``stress`` (n_systems, 3, 3), eV/Å³: 1 up to 0.05 eV/Å³."""
    return max(1.0, float(stress.abs().max()) / 0.05) if stress.numel() else 1.0
