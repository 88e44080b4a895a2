"""The content of a batch, and the input it refuses."""

import numpy as np
import pytest
import torch

from mlff_core import AtomicBatch, InputError, concatenate, single, split

WATER = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]


def tensors(**changed):
    parts = {
        "positions": torch.zeros(4, 3),
        "atomic_numbers": torch.ones(4, dtype=torch.int64),
        "cell": torch.zeros(2, 3, 3),
        "pbc": torch.zeros(2, 3, dtype=torch.bool),
        "system_idx": torch.tensor([0, 0, 1, 1]),
    }
    return AtomicBatch(**(parts | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"positions": torch.zeros(4, 2)},
        {"positions": torch.zeros(4, 3, dtype=torch.int64)},
        {"atomic_numbers": torch.ones(3, dtype=torch.int64)},
        {"atomic_numbers": torch.ones(4)},
        {"cell": torch.zeros(3, 3)},
        {"cell": torch.zeros(())},
        {"cell": torch.zeros(2, 3, 3, dtype=torch.float64)},
        {"pbc": torch.zeros(2, dtype=torch.bool)},
        {"pbc": torch.zeros(2, 3)},
        {"system_idx": torch.zeros(4)},
        {"charge": torch.zeros(3)},
        {"spin_multiplicity": torch.ones(2, 1)},
        {"system_idx": torch.zeros(4, dtype=torch.int64, device="meta")},
    ],
    ids=str,
)
def test_a_wrong_shape_dtype_or_device_is_named(changed):
    with pytest.raises(InputError, match=next(iter(changed))):
        tensors(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"positions": torch.tensor([[0.0, 0, 0], [0, float("nan"), 0], [0, 0, 0], [0, 0, 0]])}, "atom 1"),
        ({"cell": torch.full((2, 3, 3), float("inf"))}, "cell must be finite"),
        ({"atomic_numbers": torch.tensor([1, 0, 1, 1])}, "1–118"),
        ({"atomic_numbers": torch.tensor([1, 119, 1, 1])}, "1–118"),
        ({"system_idx": torch.tensor([0, 1, 0, 1])}, "non-decreasing"),
        ({"system_idx": torch.tensor([0, 0, 1, 2])}, "non-decreasing"),
        ({"system_idx": torch.tensor([1, 1, 1, 1])}, "no atoms"),
        ({"pbc": torch.ones(2, 3, dtype=torch.bool)}, "length zero"),
        (
            {
                "pbc": torch.ones(2, 3, dtype=torch.bool),
                "cell": torch.tensor([[[5.0, 0, 0], [0, 5, 0], [5, 5, 0]]]).repeat(2, 1, 1),
            },
            "no volume",
        ),
    ],
)
def test_meaningless_values_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        tensors(**changed).validate_values()


def test_an_empty_structure_is_refused():
    with pytest.raises(InputError, match="empty"):
        single(np.zeros((0, 3)), []).validate_values()


@pytest.mark.parametrize(
    "arguments",
    [
        {"positions": [[0, 0], [1]]},
        {"positions": [["a", "b", "c"]] * 3},
        {"atomic_numbers": [8, 1.5, 1]},
        {"atomic_numbers": [8, float("nan"), 1]},
        {"atomic_numbers": ["O", "H", "H"]},
        {"cell": [1.0, 2.0, 3.0]},
        {"pbc": [True, False]},
        {"charge": "plus"},
        {"spin_multiplicity": 1.5},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_array_likes_that_are_no_structure_give_our_error(arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        single(**({"positions": WATER, "atomic_numbers": [8, 1, 1]} | arguments))


def test_a_batch_copies_its_numbers():
    positions, cell = np.array(WATER, dtype=float), np.eye(3) * 9
    batch = single(positions, [8, 1, 1], cell, True, dtype=torch.float64)
    positions += 1
    cell += 1
    assert batch.positions[0].tolist() == [0, 0, 0]
    assert batch.cell[0, 0].tolist() == [9, 0, 0]


def test_joining_and_splitting_are_inverse():
    parts = [
        single(WATER, [8, 1, 1], charge=0.5),
        single([[0, 0, 0]], [2], np.eye(3), (True, False, True), spin_multiplicity=3),
    ]
    joined = concatenate(parts)
    assert joined.system_idx.tolist() == [0, 0, 0, 1]
    assert joined.charge.tolist() == [0.5, 0.0]
    assert joined.spin_multiplicity.tolist() == [1, 3]
    for before, after in zip(parts, split(joined), strict=True):
        for name in ("positions", "atomic_numbers", "cell", "pbc", "system_idx"):
            assert torch.equal(getattr(before, name), getattr(after, name))


def test_whole_and_broken_charges_join_without_rounding():
    parts = [tensors(charge=torch.tensor([1, 0])), tensors(charge=torch.tensor([0.5, -0.5]))]
    assert concatenate(parts).charge.tolist() == [1, 0, 0.5, -0.5]


def test_structures_of_two_precisions_are_not_joined_silently():
    with pytest.raises(InputError, match=r"float32 on cpu and torch\.float64"):
        concatenate([single(WATER, [8, 1, 1]), single(WATER, [8, 1, 1], dtype=torch.float64)])
    with pytest.raises(InputError, match="empty"):
        concatenate([])


def test_moving_to_the_same_place_costs_nothing():
    batch = single(WATER, [8, 1, 1])
    assert batch.to("cpu", torch.float32) is batch
    assert batch.to(dtype=torch.float64).cell.dtype == torch.float64
