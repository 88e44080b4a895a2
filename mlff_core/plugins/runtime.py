"""The base class of runtimes, which open an exported file as a potential for any engine."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mlff_core.plugins.provider import Provider

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


class Runtime(Provider):
    """Opens files of one format.

    Attributes
    ----------
    suffixes
        Endings of the files it opens, such as ``(".onnx",)``.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def open(self, path: Path, *, device: str = "cpu") -> Potential:
        """Return the file as a potential on ``device``; ``"auto"`` takes the best device for this format here.

        Raises
        ------
        MissingDependencyError
            A package is not installed.
        CheckpointError
            The file is damaged or of another format.
        """
