"""Check which packages a plugin needs are installed, without importing them."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

from mlff_core.errors import MissingDependencyError


def unmet(requires: tuple[str, ...]) -> tuple[str, ...]:
    """Return a sentence for each requirement (PEP 508, such as ``"openmm>=8.4"``) that the environment does not meet.

    Examples
    --------
    >>> unmet(("pluggy",))
    ()
    >>> unmet(("no-such-package>=2",))
    ('no-such-package>=2 is not installed',)
    """
    problems = []
    for text in requires:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{text} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{text} is wanted, {requirement.name} {version} is installed")
    return tuple(problems)


def require(what: str, requires: tuple[str, ...], install_hint: str) -> None:
    """Raise an error if a requirement is not met.

    Raises
    ------
    MissingDependencyError
        A requirement is not met; the message names it and the command that installs it.
    """
    problems = unmet(requires)
    if problems:
        raise MissingDependencyError(f"{what} cannot be used: {'; '.join(problems)}. Install with: {install_hint}")
