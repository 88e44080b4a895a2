"""A potential with a Verlet list returns and refuses the same as without."""

import numpy as np
import pytest
import torch

from mlff_core import InputError, UnsupportedError, VerletPotential, single
from mlff_core.testing import small_student, structures

WATER = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]


def test_with_a_list_everything_is_as_without():
    bare, skin = small_student(dtype=torch.float64), VerletPotential(small_student(dtype=torch.float64), skin=0.8)
    rng = np.random.default_rng(0)
    atoms = structures.triclinic_crystal()
    want = ("energy", "forces", "stress", "atom_energies")
    for _ in range(12):
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        batch = structures.to_batch(atoms)
        a, b = bare.predict(batch, want=want), skin.predict(batch, want=want)
        for name in want:
            assert torch.allclose(getattr(a, name), getattr(b, name), rtol=1e-12, atol=1e-13)
    assert 1 < skin.neighbors.n_builds < 12


def test_with_a_list_every_call_refuses_what_the_first_refused():
    """Only checks that the list of neighbours makes itself are left out; all others are made at every call."""
    skin = VerletPotential(small_student(dtype=torch.float64))
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="does not know Si"):
            skin.predict(single(WATER, [8, 1, 14]))
    water = single(WATER, [8, 1, 1])
    for _ in range(2):
        skin.predict(water)
    with pytest.raises(UnsupportedError, match="neutral"):
        skin.predict(single(WATER, [8, 1, 1], charge=-1))
    with pytest.raises(InputError, match="unknown property"):
        skin.predict(water, want=("magmom",))
    with pytest.raises(InputError, match="periodic cell"):
        skin.predict(water, want=("stress",))
    with pytest.raises(InputError, match="finite"):
        skin.predict(water.with_positions(water.positions * torch.nan))
