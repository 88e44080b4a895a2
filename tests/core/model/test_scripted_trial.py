"""TorchScript modules, of many operations or of one, treat trial steps as the Python code does, and stop dynamics."""

import numpy as np
import pytest
import torch

from mlff_core.export.writing import deprecation_silenced
from mlff_core.kernels.fused_modules import FusedStudent
from mlff_core.model.scripted import ScriptedStudent
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.testing import small_student, structures

ERRORS = (RuntimeError, torch.jit.Error)


@pytest.fixture(scope="module")
def student():
    return small_student(dtype=torch.float64, kernel="reference")


@pytest.fixture(params=[ScriptedStudent, FusedStudent])
def scripted(request, student):
    with deprecation_silenced():
        module = torch.jit.script(request.param(student.model, 1.0).eval())

    def energy(batch):
        positions = batch.positions.clone().requires_grad_()
        found = module(batch.atomic_numbers, positions, torch.zeros(3, 3, dtype=torch.float64), False)
        (gradient,) = torch.autograd.grad(found, positions)
        return found.detach(), -gradient

    return energy


def on_path(share):
    start, atoms = structures.ethanol(), structures.ethanol()
    atoms.positions[5] += share * (start.positions[3] + [0.0, 0.15, 0.2] - start.positions[5])
    return structures.to_batch(atoms).to(dtype=torch.float64)


def test_a_trial_is_what_python_gives(student, scripted):
    running = VerletPotential(student)
    for share in (0.0, 1.0, 0.98, 0.5, 1.02, 0.0):
        energy, forces = scripted(on_path(share))
        wanted = running.predict(on_path(share))
        assert float(energy) == pytest.approx(float(wanted.energy[0]), abs=1e-7)
        torch.testing.assert_close(forces, wanted.forces, rtol=1e-7, atol=1e-7)


def test_other_overlaps_are_refused(scripted):
    with pytest.raises(ERRORS, match="overlap"):
        scripted(on_path(1.0))
    for k in range(20):
        scripted(on_path(k / 20))
    with pytest.raises(ERRORS, match="overlap"):
        scripted(on_path(1.0))
    scripted(on_path(0.0))


def test_dynamics_that_jumped_into_an_overlap_stops_at_the_next_step(scripted):
    start = structures.to_batch(structures.ethanol()).to(dtype=torch.float64)
    step = torch.from_numpy(np.full((9, 3), [0.02, 0.03, 0.0]))
    step[5] = on_path(1.0).positions[5] - start.positions[5]
    scripted(start)
    scripted(start.with_positions(start.positions + step))
    with pytest.raises(ERRORS, match="went on through atoms that overlap"):
        scripted(start.with_positions(start.positions + 2 * step))
