"""The option ``operator`` of exporters: torch's graph, which runs everywhere, or the CPU kernel as one operator."""

from __future__ import annotations

from collections.abc import Mapping

from mlff_core.errors import InputError
from mlff_core.kernels.operator_library import load_operators

PORTABLE, FUSED = "portable", "fused"
NEEDS = (
    "`import mlff_core.operators`, or torch.ops.load_library(PATH) with the path that `mlff operators` prints, "
    "before the file is opened"
)
"""What a fused file needs, for reports and metadata."""


def is_fused(operator: str) -> bool:
    """Return whether the value of the option ``operator`` asks for the CPU kernel.

    Raises
    ------
    InputError
        The value is neither ``"portable"`` nor ``"fused"``.
    """
    if operator not in (PORTABLE, FUSED):
        raise InputError(f"operator must be {PORTABLE} or {FUSED}, got {operator!r}")
    return operator == FUSED


def details_of(fused: bool) -> dict[str, str]:
    """Return what a report says of a file with this operator."""
    return {"operator": FUSED, "needs": NEEDS} if fused else {}


def load_operators_for(entries: Mapping[str, str]) -> None:
    """Load the operators if a file with these entries needs them.

    Raises
    ------
    BuildError
        They cannot be built or loaded here.
    """
    if entries.get("operator") == FUSED:
        load_operators()
