"""Volumes of cells, and stresses from virials."""

import numpy as np
import pytest
import torch

from mlff_core.structures.stress import stress_from_virial, volume

CELL = np.array([[5.9, 0.4, -0.3], [-1.1, 6.3, 0.5], [0.7, 1.3, 6.8]])


def test_the_volume_of_a_cell_is_that_of_its_rows_and_of_its_columns():
    wanted = abs(np.linalg.det(CELL))
    assert volume(CELL.tolist()) == pytest.approx(wanted, rel=1e-14)
    assert volume(CELL.T.tolist()) == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_stress_is_the_negative_virial_over_the_volume_of_its_own_cell_right_or_left_handed(sign):
    cells = torch.from_numpy(np.stack([sign * CELL, np.diag([2.0, 3.0, 4.0])]))
    virials = torch.arange(18, dtype=torch.float64).reshape(2, 3, 3)
    found = stress_from_virial(virials, cells)
    assert torch.allclose(found[0], -virials[0] / abs(np.linalg.det(CELL)), rtol=1e-14, atol=0.0)
    assert torch.allclose(found[1], -virials[1] / 24.0, rtol=1e-14, atol=0.0)
