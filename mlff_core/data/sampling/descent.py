"""Damped steps along the teacher's forces, towards its minima, which the student must reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from mlff_core.data.sampling.strategy import SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import LabelledStructure, batch_from_structures
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Descent(Strategy):
    """Steps x ← x + rate · F, in which no atom moves by more than ``longest``."""

    kind: ClassVar[str] = "descent"
    needs_teacher: ClassVar[bool] = True
    crystals: ClassVar[bool] = True

    positive: ClassVar[tuple[str, ...]] = ("rate", "longest")

    n: int = 2
    """Number of steps; each gives a geometry."""
    rate: float = 0.02
    """Å²/eV; 0.02 is about the inverse curvature of a bond."""
    longest: float = 0.1
    """Largest displacement of an atom in a step, Å."""

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return the geometries after each step."""
        return self.sample_many([start], [rng], context)[0]

    def sample_many(
        self, starts: Sequence[LabelledStructure], rngs: Sequence[np.random.Generator], context: SamplingContext
    ) -> list[Structures]:
        """Return the geometries after each step of each start; the teacher evaluates all starts together.

        Raises
        ------
        InputError
            There is no teacher.
        UnsupportedError
            The teacher gives no forces.
        """
        if context.teacher is None:
            raise InputError("the kind descent needs a teacher: give one, or disable it")
        current = [start.positions.astype(np.float64) for start in starts]
        made: list[list[LabelledStructure]] = [[] for _ in starts]
        batch = batch_from_structures(starts, dtype=torch.float64)
        bounds = np.cumsum([start.n_atoms for start in starts])[:-1]
        for _ in range(self.n):
            positions = torch.from_numpy(np.concatenate(current))
            found = context.teacher.predict(batch.with_positions(positions), want=("forces",))
            forces = found.need("forces", context.teacher.card.name, "which the kind descent needs; disable it")
            for k, force in enumerate(np.split(forces.detach().to("cpu", torch.float64).numpy(), bounds)):
                step = self.rate * force
                step *= min(1.0, self.longest / max(float(np.linalg.norm(step, axis=1).max()), 1e-12))
                current[k] = current[k] + step
                made[k].append(at(starts[k], current[k], self.kind))
        return made
