"""Random numbers of many structures at once, each structure's from a generator of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

AHEAD = 16
"""Steps drawn at once: a call for each structure and step would cost more than its numbers, and so would their way to a
GPU."""


class Noise:
    """Standard normal numbers; structure k gets those that its generator would give it step by step.

    Parameters
    ----------
    generators
        One for each structure.
    counts
        Atoms of each structure.
    device
        Where the numbers are wanted.
    """

    def __init__(self, generators: Sequence[np.random.Generator], counts: Sequence[int], device: torch.device) -> None:
        self.generators = generators
        self.counts = counts
        self.device = device
        self._block = torch.empty(0)
        self._n_used = 0
        self._states_before: list[Mapping[str, Any]] = []

    def draw(self) -> Tensor:
        """Return the numbers of one step, shape (n_atoms, 3), float64, no unit."""
        if self._n_used == len(self._block):
            self._states_before = self._states()
            drawn = [
                generator.standard_normal((AHEAD, count, 3))
                for generator, count in zip(self.generators, self.counts, strict=True)
            ]
            self._block = torch.from_numpy(np.concatenate(drawn, axis=1)).to(self.device)
            self._n_used = 0
        self._n_used += 1
        return self._block[self._n_used - 1]

    def states(self) -> list[Mapping[str, Any]]:
        """Return the generators' states after the numbers that were used; none is drawn ahead any more."""
        if self._n_used < len(self._block):
            for generator, count, state in zip(self.generators, self.counts, self._states_before, strict=True):
                generator.bit_generator.state = dict(state)
                generator.standard_normal((self._n_used, count, 3))
        self._block, self._n_used = torch.empty(0), 0
        return self._states()

    def resume(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what :meth:`states` gave."""
        for generator, state in zip(self.generators, states, strict=True):
            generator.bit_generator.state = dict(state)
        self._block, self._n_used = torch.empty(0), 0

    def _states(self) -> list[Mapping[str, Any]]:
        return [generator.bit_generator.state for generator in self.generators]
