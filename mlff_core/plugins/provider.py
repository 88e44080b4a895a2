"""The base class of engines, exporters, runtimes and teachers."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from mlff_core.plugins.requirements import require, unmet


class Provider(ABC):
    """An object that a plugin registers: described by its attributes, and importing nothing until it is used.

    Attributes
    ----------
    name
        The name that users type.
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
        """Return the provider of ``name``: this one for its own name, None for any other.

        A family, such as ``ase:module.Class``, returns its member of that name.
        """
        return self if name == self.name else None

    def missing(self) -> tuple[str, ...]:
        """Return a sentence for each requirement that is not met; imports nothing."""
        return unmet(self.requires)

    def ensure_installed(self) -> None:
        """Raise an error if a requirement is missing.

        Raises
        ------
        MissingDependencyError
            A requirement is missing; the message names it and the install command.
        """
        require(self.name, self.requires, self.install_hint)
