"""Steps through OpenMM, by ``PythonForce`` and by ``openmm-torchforce``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
import torch
from ase import Atoms, units

from benchmarks.engines.trio import TIMESTEP_FS, Run, Trio, cycle, frames_of_a_run, predict_steps
from mlff_core import load
from mlff_core.units import ANGSTROM_PER_NM


def openmm_steps(frame: Atoms, force: Any) -> Run:
    """Return steps of OpenMM on its Reference platform."""
    import openmm

    system = openmm.System()
    for mass in frame.get_masses():
        system.addParticle(mass)
    if frame.pbc.any():
        system.setDefaultPeriodicBoxVectors(*(np.asarray(frame.cell) / ANGSTROM_PER_NM))
    system.addForce(force)
    integrator = openmm.VerletIntegrator(TIMESTEP_FS * 1e-3)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(frame.positions / ANGSTROM_PER_NM)
    context.setVelocities(frame.get_velocities() * units.fs * 1e3 / ANGSTROM_PER_NM)

    def run(n: int, _alive: Any = context) -> None:
        integrator.step(n)

    return run


def _nothing(state: Any) -> tuple[float, Any]:
    return 0.0, np.zeros((len(state.getPositions(asNumpy=True)), 3))


@contextlib.contextmanager
def openmm_pythonforce(frame: Atoms, model: str) -> Iterator[Trio]:
    import openmm

    from mlff_plugins.openmm import create_force

    potential, periodic = load(model, device="cpu"), bool(frame.pbc.any())
    frames = frames_of_a_run(frame, potential)
    force = create_force(potential, frame.numbers.tolist(), backend="pythonforce", periodic=periodic)
    zero = openmm.PythonForce(_nothing)
    zero.setUsesPeriodicBoundaryConditions(periodic)
    yield Trio(
        openmm_steps(frame, force),
        openmm_steps(frame, zero),
        predict_steps(frame, potential, frames, ("energy", "forces")),
    )


class NoEnergy(torch.nn.Module):
    """A TorchForce's module without a model."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, positions: torch.Tensor, box: Optional[torch.Tensor] = None) -> torch.Tensor:  # noqa: UP045
        """Return zero; positions (n_atoms, 3) in nm."""
        return positions.sum() * 0.0


@contextlib.contextmanager
def openmm_torchforce(frame: Atoms, model: str) -> Iterator[Trio]:
    from mlff_core.export.writing import deprecation_silenced
    from mlff_plugins.openmm import create_force
    from mlff_plugins.openmm.force_module import DEFAULT_SKIN, force_module
    from mlff_plugins.openmm.torch_force import torch_force

    potential, periodic = load(model, device="cpu", kernel="reference"), bool(frame.pbc.any())
    numbers = frame.numbers.tolist()
    frames = [(positions / ANGSTROM_PER_NM).double() for positions in frames_of_a_run(frame, load(model, device="cpu"))]
    module = force_module(potential, numbers, None, periodic, DEFAULT_SKIN)
    box = torch.from_numpy(np.asarray(frame.cell) / ANGSTROM_PER_NM) if periodic else None

    def direct(positions: torch.Tensor) -> None:
        positions = positions.clone().requires_grad_()
        module(positions, box).backward()

    with deprecation_silenced():
        nothing = torch.jit.script(NoEnergy())
    yield Trio(
        openmm_steps(frame, create_force(potential, numbers, backend="torchforce", periodic=periodic)),
        openmm_steps(frame, torch_force(nothing, periodic)),
        cycle(frames, direct),
    )
