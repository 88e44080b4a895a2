"""Three kinds of steps that alternate: through an engine, of the model alone, and of the engine with a zero force."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.reading import batch_from_atoms
from mlff_plugins.ase import MLFFCalculator

TIMESTEP_FS = 0.5
N_FRAMES = 40
Run = Callable[[int], float | None]
"""Runs a number of steps; returns their time, s, if that is not the time of the call."""


@dataclass
class Trio:
    """Steps through the engine with the model, steps with a zero force, and steps of the model alone."""

    step: Run
    zero: Run
    direct: Run

    def spent(self, what: str, n: int) -> float:
        """Return the time of n steps, s."""
        began = time.process_time()
        own = getattr(self, what)(n)
        return time.process_time() - began if own is None else own


def still(frame: Atoms) -> Atoms:
    """Return the structure with zero velocities, which stay zero without forces, and with all atoms in the box."""
    atoms = frame.copy()
    atoms.set_momenta(np.zeros((len(atoms), 3)))
    return atoms


def frames_of_a_run(frame: Atoms, potential: Potential) -> list[torch.Tensor]:
    """Return positions of successive steps forward and back, (n_atoms, 3), Å, so that a cycle has no jump."""
    atoms = frame.copy()
    atoms.calc = MLFFCalculator(potential)
    dynamics, found = VelocityVerlet(atoms, TIMESTEP_FS * units.fs), []
    for _ in range(N_FRAMES):
        dynamics.run(1)
        found.append(torch.from_numpy(atoms.get_positions()).to(potential.dtype))
    return found + found[-2:0:-1]


def cycle(frames: list[torch.Tensor], call: Callable[[torch.Tensor], Any]) -> Run:
    """Return steps that call a function with one frame after the other."""
    k = 0

    def run(n: int) -> None:
        nonlocal k
        for _ in range(n):
            call(frames[k % len(frames)])
            k += 1

    return run


def predict_steps(frame: Atoms, potential: Potential, frames: list[torch.Tensor], want: tuple[str, ...]) -> Run:
    """Return calls of ``predict`` with a neighbour list with a skin."""
    batch, running = batch_from_atoms(frame), VerletPotential(potential)
    return cycle(frames, lambda positions: running.predict(batch.with_positions(positions), want=want))


def wants(frame: Atoms) -> tuple[str, ...]:
    """Return the properties that engines with a pressure request."""
    return ("energy", "forces", "stress") if frame.pbc.any() else ("energy", "forces")
