from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import torch

from mlff_core.data.edges import find_edges
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.loader import BatchConfig, BatchLoader, ahead
from mlff_core.errors import InputError
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import find_neighbors


@pytest.fixture(scope="module")
def ragged_set(tmp_path_factory):
    """400 random structures of 2 to 20 atoms; the energy of each is its index; every tenth has a cell."""
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "ragged.h5"
    structures = []
    for k in range(400):
        n = int(generator.integers(2, 21))
        grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)[:n] * 1.7
        structures.append(
            LabelledStructure(
                atomic_numbers=generator.choice([1, 6, 8], n),
                positions=(grid + generator.normal(0, 0.1, (n, 3))).astype(np.float32),
                energy=float(k),
                forces=np.full((n, 3), k, dtype=np.float32),
                cell=np.eye(3) * 6.0 if k % 10 == 0 else None,
                pbc=np.array([k % 10 == 0] * 3),
                weight=float(1 + k % 3),
            )
        )
    write_dataset(path, structures, teacher={"name": "none"})
    return path


def _same_edges(first, second):
    def rows(edges):
        columns = [edges.centers.tolist(), edges.neighbors.tolist(), edges.cell_shifts.tolist()]
        return sorted((i, j, *shift) for i, j, shift in zip(*columns, strict=True))

    return rows(first) == rows(second)


def test_edges_of_molecules_are_those_of_the_neighbour_search(ragged_set):
    dataset = Dataset(ragged_set)
    batch = dataset.read(np.array([k for k in range(60) if k % 10])).batch
    edges = find_edges(batch, 3.0)
    assert edges.n_edges > 100
    assert _same_edges(edges, find_neighbors(batch, 3.0))
    assert bool((edges.centers[1:] >= edges.centers[:-1]).all())


def test_edges_of_cells_are_those_of_the_neighbour_search(ragged_set):
    batch = Dataset(ragged_set).read(np.arange(12)).batch
    edges = find_edges(batch, 5.0)
    assert float(edges.cell_shifts.abs().max()) > 0
    assert _same_edges(edges, find_neighbors(batch, 5.0))


def test_a_share_without_structures_has_no_edges():
    none = torch.zeros(0, dtype=torch.int64)
    batch = AtomicBatch(torch.zeros(0, 3), none, torch.zeros(0, 3, 3), torch.zeros(0, 3, dtype=torch.bool), none)
    assert find_edges(batch, 5.0).n_edges == 0


def _indices(batches):
    return [item.labels.index.tolist() for item in batches]


@pytest.mark.parametrize("cache_mib", [512, 1])
def test_an_epoch_gives_every_structure_once(ragged_set, cache_mib, monkeypatch):
    monkeypatch.setattr("mlff_core.data.loader.BLOCK_ATOMS", 300)
    dataset = Dataset(ragged_set)
    chosen = np.arange(0, 400, 3)
    loader = BatchLoader(dataset, chosen, 5.0, BatchConfig(atoms=100, cache_mib=cache_mib))
    assert sorted(k for batch in _indices(loader.epoch(0)) for k in batch) == chosen.tolist()


def test_batches_hold_what_the_file_holds(ragged_set):
    dataset = Dataset(ragged_set)
    for item in BatchLoader(dataset, np.arange(400), 5.0).epoch(0):
        wanted = dataset.read(item.labels.index.numpy())
        for name in ("energy", "forces", "weight", "index"):
            assert torch.equal(getattr(item.labels, name), getattr(wanted, name))
        for name in ("positions", "atomic_numbers", "cell", "pbc", "system_idx"):
            assert torch.equal(getattr(item.labels.batch, name), getattr(wanted.batch, name))


def test_batches_keep_to_atoms_and_edges(ragged_set):
    limits = BatchConfig(atoms=60, edges=700)
    items = list(BatchLoader(Dataset(ragged_set), np.arange(400), 4.0, limits).epoch(0))
    several = [item for item in items if item.labels.batch.n_systems > 1]
    assert max(item.labels.batch.n_atoms for item in several) <= 60
    assert max(item.edges.n_edges for item in several) <= 700
    assert np.mean([item.labels.batch.n_atoms for item in items]) > 30
    # Each limit ends some batch.
    assert max(item.labels.batch.n_atoms for item in several) > 50
    assert max(item.edges.n_edges for item in several) > 600


def test_a_structure_above_the_limit_is_a_batch_of_its_own(ragged_set):
    items = list(BatchLoader(Dataset(ragged_set), np.arange(20), 4.0, BatchConfig(atoms=1)).epoch(0))
    assert [item.labels.batch.n_systems for item in items] == [1] * 20


def test_the_seed_fixes_the_order_and_epochs_differ(ragged_set):
    def order(seed, epoch):
        return _indices(BatchLoader(Dataset(ragged_set), np.arange(400), 4.0, seed=seed).epoch(epoch))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)
    assert list(itertools.chain(*order(None, 0))) == list(range(400))


@pytest.fixture
def small_groups(monkeypatch):
    """Let a tiny set be read in several groups, as a huge one is."""
    monkeypatch.setattr("mlff_core.data.loader.BLOCK_ATOMS", 200)
    monkeypatch.setattr("mlff_core.data.loader.BatchLoader.fits", property(lambda loader: False))
    monkeypatch.setattr("mlff_core.data.loader.bytes_per_structure", lambda _, indices: np.full(len(indices), 12_000))


def test_a_set_larger_than_the_cache_is_read_in_groups(ragged_set, small_groups):
    loader = BatchLoader(Dataset(ragged_set), np.arange(400), 4.0, BatchConfig(atoms=100, cache_mib=2))
    assert len(loader.groups(0)) > 3
    batches = _indices(loader.epoch(0))
    assert sorted(itertools.chain(*batches)) == list(range(400))
    assert batches != _indices(loader.epoch(1))
    assert not loader.is_in_memory


@pytest.mark.parametrize("grouped", [False, True])
def test_an_epoch_entered_in_the_middle_goes_on_as_it_would_have(ragged_set, grouped, request):
    if grouped:
        request.getfixturevalue("small_groups")
    config = BatchConfig(atoms=100, cache_mib=2)
    whole = list(BatchLoader(Dataset(ragged_set), np.arange(400), 4.0, config, seed=5).epoch(3))
    assert [item.position for item in whole] == np.cumsum([len(item.labels.index) for item in whole]).tolist()
    for start in (0, 7, len(whole) - 1):
        rest = BatchLoader(Dataset(ragged_set), np.arange(400), 4.0, config, seed=5).epoch(3, whole[start].position)
        assert _indices(rest) == _indices(whole[start + 1 :])


def test_processes_share_the_batches_of_one(ragged_set):
    one = list(BatchLoader(Dataset(ragged_set), np.arange(400), 4.0, BatchConfig(atoms=120, edges=2000)).epoch(0))
    config = BatchConfig(atoms=60, edges=1000)
    two = [
        list(BatchLoader(Dataset(ragged_set), np.arange(400), 4.0, config, rank=rank, world=2).epoch(0))
        for rank in range(2)
    ]
    for whole, first, second in zip(one, *two, strict=True):
        assert sorted(whole.labels.index.tolist()) == sorted(first.labels.index.tolist() + second.labels.index.tolist())
        assert whole.position == first.position == second.position


@pytest.fixture
def searches(monkeypatch):
    """Structures whose edges were searched."""
    counted = []

    def counting(batch, cutoff):
        counted.append(batch.n_systems)
        return find_edges(batch, cutoff)

    monkeypatch.setattr("mlff_core.data.loader.find_edges", counting)
    return counted


@pytest.mark.parametrize("chosen", [np.arange(400), np.flatnonzero(np.arange(400) % 10)])
def test_edges_are_searched_once_and_those_of_each_batch_are_right(ragged_set, searches, chosen):
    loader = BatchLoader(Dataset(ragged_set), chosen, 5.0, BatchConfig(atoms=100))
    for epoch in range(2):
        for item in loader.epoch(epoch):
            assert item.edges.cell_shifts.dtype == item.labels.batch.dtype
            assert _same_edges(item.edges, find_neighbors(item.labels.batch, 5.0))
            assert bool((item.edges.centers[1:] >= item.edges.centers[:-1]).all())
    assert sum(searches) == len(chosen)


def test_edges_are_kept_within_the_memory_that_structures_leave(ragged_set, searches, monkeypatch):
    def batches():
        loader = BatchLoader(Dataset(ragged_set), np.arange(400), 4.0, BatchConfig(atoms=100))
        return list(loader.epoch(0))

    kept = batches()
    assert sum(searches) == 400
    needed = sum(7 * item.edges.n_edges for item in kept) + 8 * 400
    for room, times in ((needed, 1), (needed - 1, 2)):
        searches.clear()
        monkeypatch.setattr(BatchLoader, "room", room)
        again = batches()
        assert sum(searches) == 400 * times
        for one, two in zip(kept, again, strict=True):
            assert torch.equal(one.labels.index, two.labels.index)
            assert _same_edges(one.edges, two.edges)


def test_a_cell_whose_images_are_too_many_for_a_byte_is_searched_anew(tmp_path, searches):
    thin = LabelledStructure(
        atomic_numbers=np.array([1]),
        positions=np.zeros((1, 3), dtype=np.float32),
        energy=0.0,
        forces=np.zeros((1, 3), dtype=np.float32),
        cell=np.diag([0.03, 10.0, 10.0]),
        pbc=np.array([True, False, False]),
    )
    write_dataset(tmp_path / "thin.h5", [thin] * 3, teacher={"name": "none"})
    (item,) = BatchLoader(Dataset(tmp_path / "thin.h5"), np.arange(3), 5.0).epoch(0)
    assert float(item.edges.cell_shifts.abs().max()) > 127
    assert sum(searches) == 6


def test_an_empty_split_is_refused(ragged_set):
    with pytest.raises(InputError, match="no structures to load"):
        BatchLoader(Dataset(ragged_set), np.arange(0), 4.0)


@pytest.mark.parametrize("name", ["atoms", "edges", "cache_mib"])
def test_an_impossible_limit_is_refused(name):
    with pytest.raises(InputError, match=f"{name} must be at least 1"):
        BatchConfig(**{name: 0})


def test_what_is_made_ahead_is_bounded_and_errors_arrive():
    taken, lead, two_ahead = 0, [], threading.Event()

    def source():
        for k in range(10):
            lead.append(k + 1 - taken)
            if k == 2:
                two_ahead.set()
            yield k
        raise ValueError("over")

    def take_all():
        nonlocal taken
        for _ in ahead(source(), 2):
            taken += 1
            # Made while the first is in use, at any speed of the machine.
            assert two_ahead.wait(60)

    with pytest.raises(ValueError, match="over"):
        take_all()
    assert taken == 10
    assert max(lead) <= 3


def test_leaving_early_ends_the_thread():
    items = ahead(iter(range(1000)), 3)
    next(items)
    items.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "mlff-loader"]
