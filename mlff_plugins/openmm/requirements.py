"""What OpenMM's two forces need installed; ``openmmtorch`` comes under several names."""

from __future__ import annotations

from mlff_core.errors import MissingDependencyError
from mlff_core.requirements import require, unmet

OPENMM = ("openmm>=8.4",)
TORCHFORCE = (*OPENMM, "acellera-openmmtorch-cpu>=1.10")
INSTALL_HINT = 'pip install "mlff-hub[openmm]"'
BUILDS = ("acellera-openmmtorch-cpu>=1.10", "acellera-openmmtorch-cu12>=1.10", "acellera-openmmtorch-cu13>=1.10")
"""Any of these brings the module ``openmmtorch``."""


def missing_torchforce() -> tuple[str, ...]:
    """Return a sentence for each requirement of ``TorchForce`` that is not met."""
    builds = [unmet((build,)) for build in BUILDS]
    return unmet(OPENMM) + (builds[0] if all(builds) else ())


def require_pythonforce() -> None:
    """Refuse to go on without OpenMM.

    Raises
    ------
    MissingDependencyError
        Names what is missing and the line that installs it.
    """
    require("openmm", OPENMM, INSTALL_HINT)


def require_torchforce() -> None:
    """Refuse to go on without OpenMM and ``openmmtorch``.

    Raises
    ------
    MissingDependencyError
        Names what is missing and the line that installs it.
    """
    problems = missing_torchforce()
    if problems:
        raise MissingDependencyError(f"TorchForce cannot be used: {'; '.join(problems)}. Install with: {INSTALL_HINT}")
