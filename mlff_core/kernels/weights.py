"""Detection of changed weights, so that a kernel with a copy of them knows when to make another."""

from __future__ import annotations

from mlff_core.model.student import Student


class WeightVersions:
    """The versions of a model's parameters and buffers, which torch increments at every change in place.

    Parameters
    ----------
    model
        The network.
    """

    def __init__(self, model: Student) -> None:
        self._tensors = [*model.parameters(), *model.buffers()]
        self._copied = self.current()

    def current(self) -> list[int]:
        """Return the version of each tensor."""
        return [tensor._version for tensor in self._tensors]

    def differ(self, versions: list[int]) -> bool:
        """Return whether these versions are others than those of the last copy."""
        return versions != self._copied

    def copied(self, versions: list[int]) -> None:
        """Record that the weights were copied at these versions."""
        self._copied = versions
