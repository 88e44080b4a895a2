"""The requirements of OpenMM's two forces; ``openmmtorch`` is in several distributions."""

from __future__ import annotations

from mlff_core.errors import MissingDependencyError
from mlff_core.plugins.requirements import require, unmet

OPENMM = ("openmm>=8.4",)
TORCHFORCE = (*OPENMM, "acellera-openmmtorch-cpu>=1.10")
INSTALL_HINT = 'pip install "mlff-hub[openmm]"'
BUILDS = ("acellera-openmmtorch-cpu>=1.10", "acellera-openmmtorch-cu12>=1.10", "acellera-openmmtorch-cu13>=1.10")
"""Each of these distributions contains the module ``openmmtorch``."""


def missing_torchforce() -> tuple[str, ...]:
    """Return a sentence for each requirement of ``TorchForce`` that is not met."""
    builds = [unmet((build,)) for build in BUILDS]
    return unmet(OPENMM) + (builds[0] if all(builds) else ())


def require_pythonforce() -> None:
    """Raise an error if OpenMM is missing.

    Raises
    ------
    MissingDependencyError
        A package is missing; the message names it and the install command.
    """
    require("openmm", OPENMM, INSTALL_HINT)


def require_torchforce() -> None:
    """Raise an error if OpenMM or ``openmmtorch`` is missing.

    Raises
    ------
    MissingDependencyError
        A package is missing; the message names it and the install command.
    """
    problems = missing_torchforce()
    if problems:
        raise MissingDependencyError(f"TorchForce cannot be used: {'; '.join(problems)}. Install with: {INSTALL_HINT}")
