"""The base class of exporters, which write a potential into a file of another format."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.plugins.options import read_options
from mlff_core.plugins.provider import Provider
from mlff_core.tolerance import Tolerance

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


@dataclass(frozen=True)
class ExportReport:
    """Description of a written file, and its differences from the original when read back."""

    path: Path
    """The file."""
    format: str
    """The exporter's name."""
    size_bytes: int
    """Its size."""
    delta_energy: float
    """Largest difference from ``predict`` over the check structures, eV/atom."""
    delta_forces: float
    """Largest difference, eV/Å."""
    delta_stress: float | None = None
    """Largest difference, eV/Å³; None where the format carries no stress."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Other information from the exporter."""


@dataclass(frozen=True)
class Variant:
    """A variant of a format with reduced accuracy."""

    options: Mapping[str, Any]
    """Options of :meth:`Exporter.export` that select it."""
    tolerance: Tolerance
    """Largest deviation of its files from the model; files beyond it are not kept."""


class Exporter(Provider):
    """Writes a potential to a file, reads it back, and compares.

    Attributes
    ----------
    suffix
        Usual ending of its files.
    variants
        Variants of its files with reduced accuracy, by name; ``mlff parity`` lists them separately.
    needs_structure
        True if a file serves one list of atoms: :meth:`export` then needs the option ``"structure"``, a file.
    has_operator
        True if its files can run the CPU kernel as one operator of torch, with ``operator=fused``; ``mlff export`` then
        says what a step costs in both forms.
    """

    suffix: ClassVar[str] = ""
    variants: ClassVar[Mapping[str, Variant]] = {}
    needs_structure: ClassVar[bool] = False
    has_operator: ClassVar[bool] = False

    @abstractmethod
    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path`` (by rename), re-open it and report the largest differences.

        Raises
        ------
        MissingDependencyError
            A package is not installed.
        UnsupportedError
            This potential cannot be written in this format.
        """

    def read_options(self, options: Mapping[str, Any] | None, **defaults: Any) -> dict[str, Any]:
        """Return the options of :meth:`export`; ``defaults`` holds every option and its default.

        Raises
        ------
        InputError
            An unknown option, or a value of the wrong kind; see :func:`mlff_core.plugins.options.read_options`.
        """
        return read_options(f"exporter {self.name}", options, **defaults)
