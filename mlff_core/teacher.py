"""What a teacher's plugin offers: a potential whose labels a student learns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.provider import Provider

if TYPE_CHECKING:
    from mlff_core.potential import Potential


class Teacher(Provider):
    """A model or method that labels structures.

    Attributes
    ----------
    licence
        SPDX identifier, of the weights where they differ from the code.
    options
        Names and meanings of what ``load`` takes.
    """

    licence: ClassVar[str] = ""
    options: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return the teacher as a potential; its card carries method, package, version, licence and weights' hash.

        Raises
        ------
        MissingDependencyError
            The package is not installed.
        InputError
            An unknown option, or a weights file that is missing or not the one expected.
        """
