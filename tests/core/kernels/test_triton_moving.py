"""Moving structures on the GPU kernels, here in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("the interpreter is for machines without a GPU; test_gpu.py is for this one", allow_module_level=True)

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.kernels.triton.stepper import Stepper
from mlff_core.model.painn import PaiNNConfig
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import concatenate, single
from mlff_core.structures.neighbors import VerletNeighborList

SMALL = PaiNNConfig(hidden=16, n_layers=1, n_radial=4, cutoff=2.5)
WANT = ("energy", "forces", "stress", "atom_energies")


@pytest.fixture
def student(make_model):
    def make(kernel):
        card = ModelCard(name="small", elements=SMALL.elements, cutoff=SMALL.cutoff)
        return StudentPotential(make_model(SMALL), card, dtype=torch.float64, kernel=kernel)

    return make


@pytest.fixture
def no_list(monkeypatch):
    """Forbid lists of neighbours made on the host for the potential under test."""

    def refuse(*_):
        raise AssertionError("neighbours were searched on the host")

    monkeypatch.setattr(VerletNeighborList, "edges", refuse)
    monkeypatch.setattr(VerletNeighborList, "candidates", refuse)


def crystal(stretch=1.0, seed=None):
    cell = np.array([[2.9, 0.3, 0.0], [0.0, 3.1, 0.2], [0.1, 0.0, 3.3]]) * stretch
    points = np.array([[0.0, 0.0, 0.0], [1.3, 0.4, 0.2]]) * stretch
    if seed is not None:
        points = points + np.random.default_rng(seed).normal(0, 0.02, points.shape)
    return single(points, [8, 1], cell, True, dtype=torch.float64)


def molecule(numbers=(6, 1, 1), **options):
    return single([[0, 0, 0], [1.3, 0, 0], [0, 1.4, 0.2]], numbers, dtype=torch.float64, **options)


def close(given, expected, names=WANT):
    for name in names:
        torch.testing.assert_close(getattr(given, name), getattr(expected, name), rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("no_list")
def test_atoms_and_cells_that_move_have_the_numbers_of_the_reference(student):
    truth, moving = student("reference"), VerletPotential(student("triton"))
    for batch in (crystal(), crystal(seed=1), crystal(1.02, seed=2), crystal(0.9)):
        close(moving.predict(batch, want=WANT), truth.predict(batch, want=WANT))
        close(moving.predict_checked(batch, ("energy", "forces")), truth.predict(batch), ("energy", "forces"))
    assert isinstance(moving._stepper, Stepper)


@pytest.mark.usefixtures("no_list")
def test_a_cell_that_shrinks_under_a_skin_is_searched_again(student, monkeypatch):
    monkeypatch.setattr("mlff_core.kernels.triton.kernel.SEARCHED_EVERY_STEP", 0)
    truth, moving = student("reference"), VerletPotential(student("triton"), skin=0.3)
    for batch, n_searches in ((crystal(), 1), (crystal(seed=1), 1), (crystal(0.9), 2), (crystal(0.9, seed=1), 2)):
        close(moving.predict(batch, want=WANT), truth.predict(batch, want=WANT))
        assert moving.n_searches == n_searches


@pytest.mark.usefixtures("no_list")
def test_transposed_views_are_read_as_what_they_show(student):
    batch = crystal(seed=3)
    turned = type(batch)(
        batch.positions.T.contiguous().T,
        batch.atomic_numbers,
        batch.cell.mT.contiguous().mT,
        batch.pbc,
        batch.system_idx,
    )
    assert not turned.cell.is_contiguous()
    close(VerletPotential(student("triton")).predict(turned, want=WANT), student("reference").predict(batch, want=WANT))


def test_a_prediction_is_not_overwritten_by_the_next_step(student):
    moving, first = VerletPotential(student("triton")), molecule()
    before = moving.predict(first)
    kept = before.forces.clone()
    moving.predict(first.with_positions(first.positions * 1.01))
    assert torch.equal(before.forces, kept)


@pytest.mark.usefixtures("no_list")
def test_other_structures_and_other_weights_take_another_stepper(student):
    potential, truth = student("triton"), student("reference")
    moving = VerletPotential(potential)
    for batch in (molecule(), molecule((6, 1, 8)), concatenate([molecule(), crystal()])):
        close(moving.predict(batch), truth.predict(batch), ("energy", "forces"))
    batch, last = molecule(), moving._stepper
    moving.predict(batch)
    assert moving._stepper is not last
    for student_model in (potential.model, truth.model):
        with torch.no_grad():
            student_model.embedding.weight.mul_(1.3)
    close(moving.predict(batch), truth.predict(batch), ("energy", "forces"))


def test_bad_input_is_refused_with_the_same_messages(student):
    bare, moving = student("reference"), VerletPotential(student("triton"))
    moving.predict(molecule())
    charged = molecule(charge=1.0)
    two = molecule((6, 1, 92))
    for batch, kind, options in (
        (charged, UnsupportedError, {}),
        (two, UnsupportedError, {}),
        (molecule(), InputError, {"want": "stress"}),
        (molecule(), InputError, {"want": "magmom"}),
    ):
        with pytest.raises(kind) as expected:
            bare.predict(batch, **options)
        with pytest.raises(kind) as given:
            moving.predict(batch, **options)
        assert str(given.value) == str(expected.value)
    moving.predict(crystal())
    flat = crystal()
    flat.cell[0, 2] = 0.0
    with pytest.raises(InputError, match="lattice vector of length zero"):
        moving.predict(flat)
    # A cell that is refused leaves the one before.
    close(moving.predict(crystal(), want=WANT), bare.predict(crystal(), want=WANT))
