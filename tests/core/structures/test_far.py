"""Structures far from the origin are moved to it before float32 rounds their distances, or refused."""

import pytest
import torch

from mlff_core.errors import InputError
from mlff_core.structures.batch import AtomicBatch, concatenate, single
from mlff_core.structures.far import FARTHEST_SINGLE
from mlff_core.testing import small_student, structures


def ethanol_at(x, dtype, pbc=False):
    """Return ethanol with its atoms moved by x along the first axis and half as far back along the second, Å."""
    atoms = structures.ethanol()
    at_origin = single(atoms.positions, atoms.numbers, 12.0 * torch.eye(3).numpy(), pbc, dtype=torch.float64)
    moved = at_origin.positions + torch.tensor([x, -0.5 * x, 0.0], dtype=torch.float64)
    return at_origin.with_positions(moved).to(dtype=dtype) if dtype == torch.float64 else _cast(at_origin, moved, dtype)


def _cast(batch: AtomicBatch, positions, dtype):
    """Return the batch with its positions cast as they are, as a caller does who has no float64."""
    return batch.to(dtype=dtype).with_positions(positions.to(dtype))


@pytest.mark.parametrize("pbc", [False, True])
@pytest.mark.parametrize("x", [3e3, 1e6])
def test_float64_structures_far_away_have_the_forces_they_have_at_the_origin_in_a_float32_student(x, pbc):
    student = small_student()
    near = student.predict(ethanol_at(0.0, torch.float64, pbc)).forces
    far = student.predict(ethanol_at(x, torch.float64, pbc)).forces
    assert (far - near).abs().max() < 1e-3


def test_each_structure_of_a_batch_is_moved_by_its_own_vector():
    student = small_student()
    batch = concatenate([ethanol_at(x, torch.float64) for x in (0.0, 5e5, -2e6)])
    forces = student.predict(batch).forces.view(3, -1, 3)
    assert (forces - forces[0]).abs().max() < 1e-3


@pytest.mark.parametrize("kernel", ["auto", "reference"])
@pytest.mark.parametrize("x", [2 * FARTHEST_SINGLE, 1e6])
def test_float32_positions_that_do_not_resolve_distances_are_refused(kernel, x):
    student = small_student(kernel=kernel)
    with pytest.raises(InputError, match="where float32 rounds distances; give positions in float64"):
        student.predict(ethanol_at(x, torch.float32))
    if student.has_stepper:
        with pytest.raises(InputError, match="more than 8192 Å from the origin"):
            student.stepper(ethanol_at(x, torch.float32), 1.0, None)


def test_float32_positions_a_thousand_angstrom_away_are_computed():
    student = small_student()
    near, far = (student.predict(ethanol_at(x, torch.float32)).forces for x in (0.0, 1e3))
    assert (far - near).abs().max() < 0.05  # they are rounded to 3e-5 Å
