"""The start itself: a conformer's minimum, or a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.strategy import SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import LabelledStructure


@dataclass(frozen=True)
class Minimum(Strategy):
    """The start; frames of a file keep their kind."""

    kind: ClassVar[str] = "minimum"
    crystals: ClassVar[bool] = True

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return the start."""
        return [at(start, start.positions, start.kind)]
