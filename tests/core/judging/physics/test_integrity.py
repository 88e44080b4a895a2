"""Broken bonds are found, vibrations are not."""

import pytest
import torch

from mlff_core.judging.physics.integrity import broken_bonds
from mlff_core.testing.structures import ethanol, to_batch


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 0), (1.2, 0), (1.6, 1), (float("nan"), 1)])
def test_a_bond_is_broken_beyond_one_and_a_half_times_its_length(factor, expected):
    start = to_batch(ethanol())
    oxygen, hydrogen = 2, 8
    positions = start.positions.clone()
    positions[hydrogen] = positions[oxygen] + factor * (positions[hydrogen] - positions[oxygen])
    assert broken_bonds(start, start.with_positions(positions)) == expected


def test_a_molecule_that_has_moved_and_shaken_is_whole():
    start = to_batch(ethanol())
    noise = 0.05 * torch.randn(start.positions.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert broken_bonds(start, start.with_positions(start.positions + noise + 7.0)) == 0
