"""The base class of teachers, whose labels a student learns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.plugins.options import check_names
from mlff_core.plugins.provider import Provider

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


class Teacher(Provider):
    """A model or method that labels structures.

    It holds no model, so ``functools.partial(teacher.load, options)`` is a picklable factory for worker processes.

    Attributes
    ----------
    package
        The distribution that does the computation.
    method
        The level of theory, or the training data of the model.
    elements
        Supported atomic numbers, ascending; empty where only the loaded potential knows them.
    charges, spin_multiplicities
        As in :class:`~mlff_core.card.ModelCard`.
    gives
        Properties it can give, a subset of :data:`mlff_core.potentials.interface.PROPERTIES`; the loaded potential may
        give fewer.
    licence
        SPDX identifier; that of the weights where it differs from that of the code.
    ms_per_atom
        Measured processor time for an atom on one core, ms, by system: ``"molecule"`` (energy and forces of ethanol),
        ``"crystal"`` (with the stress of 32 copper atoms); empty where it was not measured.
    options
        Names and descriptions of the options of ``load``.
    """

    package: ClassVar[str] = ""
    method: ClassVar[str] = ""
    elements: ClassVar[tuple[int, ...]] = ()
    charges: ClassVar[str] = "neutral"
    spin_multiplicities: ClassVar[str] = "singlet"
    gives: ClassVar[frozenset[str]] = frozenset({"energy", "forces"})
    licence: ClassVar[str] = ""
    ms_per_atom: ClassVar[Mapping[str, float]] = {}
    options: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return the teacher as a potential; its card carries method, package, version, licence and weights' hash.

        Raises
        ------
        MissingDependencyError
            The package is not installed.
        InputError
            An unknown option, or a weights file that is missing or differs from the expected one.
        """

    def checked_options(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return a copy of the options after checking their names.

        Raises
        ------
        InputError
            An option that this teacher does not have; the message names the nearest one.
        """
        given = dict(options or {})
        check_names(f"teacher {self.name}", given, self.options)
        return given

    def lineage(
        self, *, settings: Mapping[str, Any], sha256: str = "", method: str | None = None, package: str | None = None
    ) -> dict[str, Any]:
        """Return a description of the teacher and its settings in JSON types, for ``card.teacher`` and data sets.

        Parameters
        ----------
        settings
            Every setting that influences a label.
        sha256
            SHA-256 of the weights file; empty where there is none.
        method, package
            Given where they differ from those of the class.
        """
        package = self.package if package is None else package
        return {
            "name": self.name,
            "method": self.method if method is None else method,
            "package": package,
            "version": metadata.version(package) if package else "",
            "sha256": sha256,
            "licence": self.licence,
            "settings": dict(settings),
        }
