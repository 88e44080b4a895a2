"""Settings of labelling that the commands label and generate share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlff_core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Settings of labelling."""

    batch_atoms: int = 600
    """Atoms evaluated by the teacher at once."""
    max_force: float = 30.0
    """Structures with a force above this are left out, eV/Å; 0 keeps all."""
    atom_energies: bool = False
    """Keep the teacher's atomic energies too."""
    hessian_rows: int = 0
    """Rows of the Hessian of each structure, by finite differences of the teacher's forces: two evaluations each."""
    hessian_directions: Literal["random", "coordinate"] = "random"
    """``"random"`` or ``"coordinate"``; see :data:`mlff_core.data.hessian.DIRECTIONS`."""
    max_failed_share: float = 0.05
    """The run stops when more than this share of its inputs failed in whole or in part."""

    def __post_init__(self) -> None:
        if self.batch_atoms < 1:
            raise InputError(f"batch_atoms must be at least 1, got {self.batch_atoms}")
        if self.hessian_rows < 0:
            raise InputError(f"hessian_rows must not be negative, got {self.hessian_rows}")
        if not self.max_force >= 0:
            raise InputError(f"max_force must be 0 (no limit) or a positive number of eV/Å, got {self.max_force}")
        if not 0 <= self.max_failed_share <= 1:
            raise InputError(f"max_failed_share must lie between 0 and 1, got {self.max_failed_share:g}")
