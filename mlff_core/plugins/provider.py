"""What engines, exporters, runtimes and teachers have in common."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from mlff_core.requirements import require, unmet


class Provider(ABC):
    """Something a plugin registers: described by its attributes, doing nothing until it is used.

    Attributes
    ----------
    name
        What users type.
    summary
        One line for listings.
    requires
        PEP 508 requirements of the package behind it, such as ``"openmm>=8.4"``.
    install_hint
        The command that installs them.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    install_hint: ClassVar[str] = ""

    def for_name(self, name: str) -> Provider | None:
        """Return who serves ``name``: this provider for its own name, None for any other.

        A family, such as ``ase:module.Class``, returns its member of that name.
        """
        return self if name == self.name else None

    def missing(self) -> tuple[str, ...]:
        """Return a sentence for each requirement that is not met; imports nothing."""
        return unmet(self.requires)

    def ensure_installed(self) -> None:
        """Refuse to go on where something is missing.

        Raises
        ------
        MissingDependencyError
            Names what is missing and the line that installs it.
        """
        require(self.name, self.requires, self.install_hint)
