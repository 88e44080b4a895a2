"""Random numbers of a batch of structures, each structure's from its own generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

import numpy as np

from mlff_core.dynamics.state import Array, Numbers

AHEAD = 16
"""Steps drawn at once: a call, and a copy to the GPU, for each structure and step would cost more than the numbers
themselves."""


class Noise(Generic[Numbers]):
    """Standard normal numbers; structure k gets the numbers that its generator gives step by step.

    Parameters
    ----------
    generators
        One for each structure.
    counts
        Atoms of each structure.
    place
        Copies an array of the host to where the numbers are used.
    ahead
        Steps drawn at once; 1 where other code draws from the generators between the steps.
    """

    def __init__(
        self,
        generators: Sequence[np.random.Generator],
        counts: Sequence[int],
        place: Callable[[Array], Numbers],
        *,
        ahead: int = AHEAD,
    ) -> None:
        self.generators = generators
        self.counts = counts
        self.place: Callable[[Array], Numbers] = place
        self.ahead = ahead
        self._block: Numbers = place(np.empty((0, sum(counts), 3)))
        self._n_drawn = 0
        self._n_used = 0
        self._states_before: list[Mapping[str, Any]] = []

    def draw(self) -> Numbers:
        """Return the numbers of one step, shape (n_atoms, 3), float64, pure numbers."""
        if self._n_used == self._n_drawn:
            self._draw_ahead()
        self._n_used += 1
        drawn: Numbers = self._block[self._n_used - 1]
        return drawn

    def states(self) -> list[Mapping[str, Any]]:
        """Return the generators' states after the numbers used so far; numbers drawn ahead are dropped."""
        if self._n_used < self._n_drawn:
            for generator, count, state in zip(self.generators, self.counts, self._states_before, strict=True):
                generator.bit_generator.state = dict(state)
                generator.standard_normal((self._n_used, count, 3))
        self._n_drawn = self._n_used = 0
        return self._states()

    def resume(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Continue from states that :meth:`states` returned."""
        for generator, state in zip(self.generators, states, strict=True):
            generator.bit_generator.state = dict(state)
        self._n_drawn = self._n_used = 0

    def _draw_ahead(self) -> None:
        if self.ahead > 1:
            self._states_before = self._states()
        drawn = [
            generator.standard_normal((self.ahead, count, 3))
            for generator, count in zip(self.generators, self.counts, strict=True)
        ]
        self._block = self.place(drawn[0] if len(drawn) == 1 else np.concatenate(drawn, axis=1))
        self._n_drawn, self._n_used = self.ahead, 0

    def _states(self) -> list[Mapping[str, Any]]:
        return [generator.bit_generator.state for generator in self.generators]
