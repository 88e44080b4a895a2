"""The neighbour search against a search by brute force, and the Verlet list against the neighbour search."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlff_core import AtomicBatch, InputError, VerletNeighborList, concatenate, find_neighbors, single
from mlff_core.structures.neighbors import edge_vectors

PERIODICITIES = list(itertools.product((False, True), repeat=3))
property_test = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def edge_set(edges):
    rows = torch.cat([edges.centers[:, None], edges.neighbors[:, None], edges.cell_shifts.round().long()], dim=1)
    found = set(map(tuple, rows.tolist()))
    assert len(found) == edges.n_edges, "an edge occurs twice"
    return found


def brute_force(positions, cell, pbc, cutoff):
    """Return the edges found by comparing every atom with every image of every atom."""
    positions, cell = np.asarray(positions, dtype=float), np.asarray(cell, dtype=float)
    periodic = cell[list(pbc)]
    reach = [0, 0, 0]
    for axis in np.flatnonzero(pbc):
        # The distance of two lattice planes is the part of a vector that is orthogonal to the other periodic ones.
        others = [cell[k] for k in np.flatnonzero(pbc) if k != axis]
        normal = cell[axis].copy()
        if others:
            basis, _ = np.linalg.qr(np.array(others).T)
            normal = normal - basis @ (basis.T @ normal)
        spread = np.ptp(np.linalg.lstsq(periodic.T, positions.T, rcond=None)[0], axis=1).max()
        reach[axis] = int(np.ceil(cutoff / np.linalg.norm(normal) + spread)) + 1
    images = np.array(list(itertools.product(*[range(-r, r + 1) for r in reach])))
    vectors = positions[None, :, None] - positions[:, None, None] + (images @ cell)[None, None]
    distances = np.linalg.norm(vectors, axis=-1)
    near = distances < cutoff
    near &= ~((np.arange(len(positions))[:, None, None] == np.arange(len(positions))[None, :, None]) & ~images.any(1))
    margin = np.abs(distances - cutoff).min()
    return {(i, j, *images[k]) for i, j, k in np.argwhere(near)}, margin


@st.composite
def structures(draw):
    """Up to six atoms in any cell: triclinic, skewed, left-handed, smaller than the cutoff, zero where open."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pbc = draw(st.sampled_from(PERIODICITIES))
    size = draw(st.sampled_from([1.5, 3.0, 6.0]))
    cell = np.diag(rng.uniform(0.8, 1.6, 3) * size) + rng.uniform(-0.3, 0.3, (3, 3)) * size
    if draw(st.booleans()):
        cell[1] += draw(st.sampled_from([-2, -1, 1, 2])) * cell[0]
    if draw(st.booleans()):
        cell[2] = -cell[2]
    if draw(st.booleans()):
        cell[~np.array(pbc)] = 0.0
    positions = rng.uniform(-1.5, 1.5, (draw(st.integers(1, 6)), 3)) * size
    return positions, cell, pbc, draw(st.sampled_from([1.2, 2.5, 4.0]))


@property_test
@given(structures())
def test_the_search_finds_what_brute_force_finds(structure):
    positions, cell, pbc, cutoff = structure
    wanted, margin = brute_force(positions, cell, pbc, cutoff)
    if margin < 1e-9:
        return
    batch = single(positions, np.ones(len(positions)), cell, pbc, dtype=torch.float64)
    edges = find_neighbors(batch, cutoff)
    assert edge_set(edges) == wanted
    assert bool((edges.centers[1:] >= edges.centers[:-1]).all())
    vectors = edge_vectors(batch, edges)
    assert bool((vectors.norm(dim=1) < cutoff).all())
    backward = {(j, i, -a, -b, -c) for i, j, a, b, c in wanted}
    assert backward == wanted


@property_test
@given(structures(), structures(), structures())
def test_a_batch_has_the_edges_of_its_members(first, second, third):
    members = [
        single(positions, np.ones(len(positions)), cell, pbc, dtype=torch.float64)
        for positions, cell, pbc, _ in (first, second, third)
    ]
    wanted, offset = set(), 0
    for member in members:
        wanted |= {(i + offset, j + offset, *s) for i, j, *s in edge_set(find_neighbors(member, 2.5))}
        offset += member.n_atoms
    joined = concatenate(members)
    edges = find_neighbors(joined, 2.5)
    assert edge_set(edges) == wanted
    assert bool((edge_vectors(joined, edges).norm(dim=1) < 2.5).all())


def test_a_dummy_cell_with_pbc_off_makes_no_images():
    molecule = single([[0, 0, 0], [0.9, 0, 0]], [1, 1])
    dummy = single([[0, 0, 0], [0.9, 0, 0]], [1, 1], np.eye(3), False)
    assert edge_set(find_neighbors(dummy, 5.0)) == edge_set(find_neighbors(molecule, 5.0)) == {
        (0, 1, 0, 0, 0),
        (1, 0, 0, 0, 0),
    }  # fmt: skip


def test_an_atom_alone_in_a_small_cell_sees_only_its_images():
    edges = find_neighbors(single([[0.3, 0.2, 0.1]], [1], np.eye(3) * 2.0, True), 2.1)
    assert edge_set(edges) == {(0, 0, *s) for s in itertools.product((-1, 0, 1), repeat=3) if np.abs(s).sum() == 1}


def test_an_atom_alone_has_no_edges():
    edges = find_neighbors(single([[0.3, 0.2, 0.1]], [1]), 5.0)
    assert edges.n_edges == 0
    assert edges.cell_shifts.shape == (0, 3)


@pytest.mark.parametrize(
    ("pbc", "distance"),
    [
        *itertools.product([(False, False, False), (True, False, False), (False, True, True)], [1e3, 1e6, 1e9]),
        ((False, False, False), 1e30),
    ],
)
def test_fragments_that_drifted_far_apart_cost_nothing_and_keep_their_edges(pbc, distance):
    pair = np.array([[0.0, 0, 0], [0.7, 0.2, 0.1]])
    cell = np.array([[5.0, 0, 0], [1.0, 6.0, 0], [0.5, -0.7, 7.0]])
    cell[~np.array(pbc)] = 0
    _, _, basis = np.linalg.svd(cell)
    far = 0.5 + distance * basis[-1:]  # orthogonal to all periodic directions
    together = single(np.concatenate([pair, far]), [1, 1, 1], cell, pbc, dtype=torch.float64)
    alone = single(pair, [1, 1], cell, pbc, dtype=torch.float64)
    lonely = {(i, j, *s) for i, j, *s in edge_set(find_neighbors(together, 4.0)) if 2 not in (i, j)}
    assert lonely == edge_set(find_neighbors(alone, 4.0))


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.full((3, 3), np.nan), True, "finite"),
        (np.full((3, 3), np.inf), True, "finite"),
        (np.diag([5.0, 5, 0]), True, "no volume"),
        ([[5, 0, 0], [0, 5, 0], [5, 5, 0]], True, "no volume"),
        ([[5, 0, 0], [0, 5, 0], [5, 5, 1e-7]], True, "no volume"),
        ([[5, 0, 0], [5, 0, 0], [0, 0, 5]], (True, True, False), "no volume"),
        (np.eye(3) * 0.01, True, "no volume"),
    ],
)
def test_a_cell_without_volume_is_refused_and_does_not_end_the_process(cell, pbc, message):
    with pytest.raises(InputError, match=message):
        find_neighbors(single([[0, 0, 0], [0.9, 0, 0]], [1, 1], np.nan_to_num(cell, nan=np.nan), pbc), 5.0)


@pytest.mark.parametrize(
    ("batch", "cutoff", "message"),
    [
        (single([[0, 0, 0], [np.nan, 0, 0]], [1, 1]), 5.0, "atom 1"),
        (single(np.zeros((0, 3)), []), 5.0, "empty"),
        (single([[0, 0, 0], [1e12, 0, 0]], [1, 1], np.eye(3) * 5, True), 5.0, "atom 1"),
        (single([[0, 0, 0]], [1]), -1.0, "cutoff"),
        (
            AtomicBatch(
                torch.rand(4, 3),
                torch.ones(4, dtype=torch.int64),
                torch.zeros(2, 3, 3),
                torch.zeros(2, 3, dtype=torch.bool),
                torch.tensor([0, 1, 0, 1]),
            ),
            5.0,
            "non-decreasing",
        ),
    ],
)
def test_an_impossible_search_is_refused_with_its_reason(batch, cutoff, message):
    with pytest.raises(InputError, match=message):
        find_neighbors(batch, cutoff)


def test_edges_are_differentiable_in_positions_and_cell():
    batch = single([[0, 0, 0], [1.4, 0.2, 0]], [1, 1], [[3, 0, 0], [1, 3, 0], [0.5, 0.2, 3]], True, dtype=torch.float64)
    edges = find_neighbors(batch, 3.5)

    def lengths(positions, cell):
        moved = AtomicBatch(positions, batch.atomic_numbers, cell, batch.pbc, batch.system_idx)
        return edge_vectors(moved, edges).norm(dim=1)

    assert torch.autograd.gradcheck(lengths, (batch.positions.requires_grad_(), batch.cell.requires_grad_()))


# The Verlet list


@settings(property_test, max_examples=25)
@given(structures(), st.sampled_from([0.0, 0.4, 1.0]), st.integers(0, 2**32 - 1))
def test_a_verlet_list_follows_a_random_walk_exactly(structure, skin, seed):
    positions, cell, pbc, cutoff = structure
    rng = np.random.default_rng(seed)
    verlet = VerletNeighborList(cutoff, skin)
    for _ in range(12):
        positions = positions + rng.normal(0, 0.06, positions.shape)
        batch = single(positions, np.ones(len(positions)), cell, pbc, dtype=torch.float64)
        assert edge_set(verlet.edges(batch)) == edge_set(find_neighbors(batch, cutoff))


def chain(positions, numbers=(1, 1, 1), cell=((9.0, 0, 0), (0, 9, 0), (0, 0, 9)), pbc=True):
    return single(positions, numbers, cell, pbc, dtype=torch.float64)


START = np.array([[0.0, 0, 0], [1.5, 0, 0], [3.0, 0.5, 0]])


def test_a_verlet_list_is_rebuilt_only_when_an_atom_has_moved_half_the_skin():
    verlet = VerletNeighborList(2.0, skin=1.0)
    for step in np.linspace(0.0, 0.49, 8):
        verlet.edges(chain(START + np.array([[0, step, 0], [0, 0, 0], [0, 0, -step]])))
    assert verlet.n_builds == 1
    verlet.edges(chain(START + np.array([[0, 0.51, 0], [0, 0, 0], [0, 0, 0]])))
    assert verlet.n_builds == 2


@pytest.mark.parametrize(
    "changed",
    [
        chain(START, cell=((9.0, 0, 0), (0, 9, 0), (0, 0, 9.001))),
        chain(START, pbc=(True, True, False)),
        chain(START, numbers=(1, 1, 8)),
        chain(START[:2], numbers=(1, 1)),
        chain(START).to(dtype=torch.float32),
        concatenate([chain(START[:1], (1,)), chain(START[1:], (1, 1))]),
    ],
    ids=["cell", "pbc", "species", "count", "dtype", "systems"],
)
def test_a_verlet_list_is_rebuilt_when_something_else_changes(changed):
    verlet = VerletNeighborList(2.0, skin=1.0)
    verlet.edges(chain(START))
    assert edge_set(verlet.edges(changed)) == edge_set(find_neighbors(changed, 2.0))
    assert verlet.n_builds == 2


def test_atoms_that_jump_by_lattice_vectors_keep_a_verlet_list_exact():
    verlet = VerletNeighborList(2.0, skin=1.0)
    verlet.edges(chain(START))
    jumped = chain(START + np.array([[9.0, 0, 0], [0, 0, 0], [0, -18.0, 9.0]]))
    edges = verlet.edges(jumped)
    assert edge_set(edges) == edge_set(find_neighbors(jumped, 2.0))
    assert edges.n_edges == find_neighbors(chain(START), 2.0).n_edges


def test_a_caller_that_writes_into_the_arrays_does_not_fool_a_verlet_list():
    verlet = VerletNeighborList(2.0, skin=1.0)
    batch = chain(START)
    verlet.edges(batch)
    batch.positions[2, 0] = 6.0
    assert edge_set(verlet.edges(batch)) == edge_set(find_neighbors(batch, 2.0))
    batch.cell[0, 0, 0] = 7.0
    assert edge_set(verlet.edges(batch)) == edge_set(find_neighbors(batch, 2.0))
    assert verlet.n_builds == 3


def test_a_verlet_list_refuses_what_the_search_refuses():
    verlet = VerletNeighborList(2.0)
    verlet.edges(chain(START))
    with pytest.raises(InputError, match="atom 0"):
        verlet.edges(chain(START * np.nan))
    for _ in range(2):
        with pytest.raises(InputError, match="empty"):
            verlet.edges(chain(np.zeros((0, 3)), ()))
    for wrong in ((0.0, 1.0), (-1.0, 1.0), (5.0, -1.0), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="cutoff must be positive"):
            VerletNeighborList(*wrong)
