"""Steps through ASE."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet

from benchmarks.engines.trio import TIMESTEP_FS, Run, Trio, frames_of_a_run, predict_steps, wants
from mlff_core import load
from mlff_plugins.ase import MLFFCalculator


class Zeros(Calculator):
    """Zero energy and forces."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE has it

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Fill the results."""
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3))}


def ase_steps(frame: Atoms, calculator: Calculator) -> Run:
    """Return steps of ASE."""
    atoms = frame.copy()
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, TIMESTEP_FS * units.fs)

    def run(n: int) -> None:
        dynamics.run(n)  # its result, whether it has converged, is no time

    return run


@contextlib.contextmanager
def ase(frame: Atoms, model: str) -> Iterator[Trio]:
    potential = load(model, device="cpu")
    frames = frames_of_a_run(frame, potential)
    yield Trio(
        ase_steps(frame, MLFFCalculator(potential)),
        ase_steps(frame, Zeros()),
        predict_steps(frame, potential, frames, wants(frame)),
    )
