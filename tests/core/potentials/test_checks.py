"""The checks of a potential's input."""

import numpy as np
import pytest

from mlff_core import InputError, single
from mlff_core.potentials.checks import check_finite
from mlff_core.structures.stress import volume
from mlff_core.testing import structures


def test_the_volume_of_a_cell_is_that_of_its_rows_and_of_its_columns():
    cell = np.asarray(structures.triclinic_crystal().cell)
    wanted = abs(np.linalg.det(cell))
    assert volume(cell.tolist()) == pytest.approx(wanted, rel=1e-14)
    assert volume(cell.T.tolist()) == pytest.approx(wanted, rel=1e-14)


def test_what_is_not_finite_is_found_in_small_and_in_large_systems():
    for n_atoms in (3, 20_000):
        points = np.random.RandomState(0).uniform(0, 300, (n_atoms, 3))
        check_finite(single(points, [1] * n_atoms))
        points[n_atoms - 1, 2] = np.nan
        with pytest.raises(InputError, match=f"atom {n_atoms - 1}"):
            check_finite(single(points, [1] * n_atoms))
