"""Neighbours found on the GPU, and structures that move: here in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("the interpreter is for machines without a GPU; test_gpu.py is for this one", allow_module_level=True)

from mlff_core.errors import InputError
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.kernels.triton.padded import padded_neighbors, reverse_edges
from mlff_core.kernels.triton.parameters import read_parameters
from mlff_core.kernels.triton.search import NeighborSearch
from mlff_core.kernels.triton.stepper import Stepper
from mlff_core.model.painn import PaiNNConfig
from mlff_core.structures.batch import concatenate, single
from mlff_core.structures.neighbors import find_neighbors


def stepper_of(model, batch, **options):
    return Stepper(read_parameters(model, fast=False), batch, **options)


SMALL = PaiNNConfig(hidden=16, n_layers=2, n_radial=6, cutoff=2.5)


def box(n_atoms, length, pbc, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    shape = np.array([[1.0, 0.2, 0.0], [0.0, 1.0, 0.1], [0.1, 0.0, 1.0]])
    # Atoms outside the cell, too, by up to two lattice vectors.
    fractions = rng.uniform(0, 1, (n_atoms, 3)) * spread + rng.integers(-2, 3, (n_atoms, 3)) * np.array(pbc)
    return single(fractions @ shape * length, rng.choice([1, 6, 8], n_atoms), shape * length, pbc, dtype=torch.float64)


def triples(slots):
    found = set()
    for i, n in enumerate(slots.n_candidates.tolist()):
        for j, code in zip(slots.candidates[i, :n].tolist(), slots.shifts[i, :n].tolist(), strict=True):
            found.add((i, j, *(((code >> (21 * k)) & 0x1FFFFF) - 0x100000 for k in range(3))))
    return found


def edges_of(batch, cutoff):
    edges = find_neighbors(batch, cutoff)
    rows = [edges.centers.tolist(), edges.neighbors.tolist(), *edges.cell_shifts.to(torch.int64).T.tolist()]
    return set(zip(*rows, strict=True))


SYSTEMS = {
    "triclinic": (lambda: box(6, 4.0, (True, True, True)), 3.0, False),
    "bins": (lambda: box(6, 6.5, (True, True, True)), 2.0, True),
    "slab in bins": (lambda: box(6, 5.0, (True, False, True)), 2.0, True),
    "molecule in bins": (lambda: box(8, 5.0, (False, False, False)), 1.7, True),
    "several": (
        lambda: concatenate(
            [box(4, 3.0, (True, True, False)), box(1, 5.0, (False, False, False)), box(3, 4.0, (True, True, True), 1)]
        ),
        2.5,
        False,
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_search_finds_what_the_library_finds(name):
    make, cutoff, by_bins = SYSTEMS[name]
    batch = make()
    slots = NeighborSearch(batch, cutoff, by_bins=by_bins).find(batch.positions)
    assert triples(slots) == edges_of(batch, cutoff)
    for i, n in enumerate(slots.n_candidates.tolist()):
        for m in range(n):
            j, back = int(slots.candidates[i, m]), int(slots.reverse[i, m])
            assert int(slots.candidates[j, back]) == i
            assert int(slots.reverse[j, back]) == m


def test_the_search_counts_neighbours_that_find_no_slot():
    # A chain of atoms 0.5 Å apart: each sees up to forty others, in sixteen slots.
    points = np.zeros((41, 3))
    points[:, 0] = 0.5 * np.arange(41)
    batch = single(points[:24], [1] * 24)
    search = NeighborSearch(batch, 30.0)
    slots = search.find(batch.positions)
    assert slots.capacity == 32
    narrow = type(slots)(*(tensor[:, :16].contiguous() for tensor in (slots.candidates, slots.shifts, slots.reverse)),
                         slots.n_candidates)  # fmt: skip
    search.fill(search.sort(batch.positions), narrow)
    assert narrow.n_candidates.tolist() == [23] * 24


def test_padded_lists_hold_the_edges_and_where_each_comes_back():
    batch = box(12, 4.0, (True, True, True))
    edges = find_neighbors(batch, 5.0)
    slots = padded_neighbors(edges, batch.n_atoms)
    assert triples(slots) == edges_of(batch, 5.0)
    shifts = edges.cell_shifts.to(torch.int64)
    reverse = reverse_edges(edges.centers, edges.neighbors, shifts)
    assert torch.equal(edges.centers[reverse], edges.neighbors)
    assert torch.equal(shifts[reverse], -shifts)


def moved(batch, seed, size):
    noise = torch.Generator().manual_seed(seed)
    step = size * torch.randn(batch.positions.shape, generator=noise, dtype=torch.float64)
    return batch.with_positions(batch.positions + step.to(batch.dtype))


def truth_of(model, batch, want=("energy", "forces")):
    return ReferenceKernel(model).evaluate(batch, find_neighbors(batch, model.cutoff), want)


@pytest.mark.parametrize("skin", [None, 0.4])
def test_steps_of_moving_atoms_are_the_reference(skin, make_model):
    model = make_model(SMALL)
    points = np.array([[0, 0, 0], [1.3, 0, 0], [0, 1.4, 0.2]])
    crystal = single(points[:2], [8, 1], np.diag([2.9, 3.1, 3.3]), True, dtype=torch.float64)
    batch = concatenate([crystal, single(points, [6, 1, 1], dtype=torch.float64)])
    stepper = stepper_of(model, batch, skin=skin)
    assert stepper.searches_every_step == (skin is None)
    for seed, size in ((1, 0.01), (2, 0.15)):
        now = moved(batch, seed, size)
        expected = truth_of(model, now)
        given = stepper.step(now.positions)
        torch.testing.assert_close(given.forces, expected.forces, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(given.energy, expected.energy, rtol=1e-12, atol=1e-10)
    assert stepper.n_searches == (1 if skin is None else 2)


def test_slots_grow_when_a_structure_contracts(make_model):
    model = make_model(PaiNNConfig(hidden=16, n_layers=1, n_radial=4, cutoff=1.5))
    side = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), -1).reshape(-1, 3)[:18]
    wide = single(2.0 * side, [1] * 18, dtype=torch.float64)
    stepper = stepper_of(model, wide)
    assert stepper.capacity == 16
    near = wide.with_positions(wide.positions * 0.35)
    given = stepper.step(near.positions)
    assert stepper.capacity == 32
    torch.testing.assert_close(given.forces, truth_of(model, near).forces, rtol=1e-8, atol=1e-9)


def test_a_step_gives_the_stress_where_it_was_asked_for(make_model):
    model = make_model(SMALL)
    batch = single([[0, 0, 0], [1.3, 0.4, 0.2]], [8, 1], np.diag([2.9, 3.1, 3.3]), True, dtype=torch.float64)
    expected = truth_of(model, batch, ("energy", "forces", "stress"))
    given = stepper_of(model, batch).step(batch.positions, stress=True)
    torch.testing.assert_close(given.stress, expected.stress, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter computes with numpy
def test_a_step_refuses_overlaps_and_what_is_no_number(make_model):
    batch = single([[0, 0, 0], [1.3, 0.4, 0.2]], [8, 1], dtype=torch.float64)
    stepper = stepper_of(make_model(SMALL), batch)
    with pytest.raises(InputError, match=r"overlap: they are 0\.10\d Å apart"):
        stepper.step(batch.positions * 0.0737)
    with pytest.raises(InputError, match="positions must be finite, but atom 1"):
        stepper.step(batch.positions + torch.tensor([[0.0], [float("inf")]], dtype=torch.float64))
    with pytest.raises(InputError, match="bring them together"):
        stepper_of(make_model(SMALL, torch.float32), batch)
