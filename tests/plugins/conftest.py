"""What exported graphs of every format are asked."""

import numpy as np
import pytest
import torch

from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.testing import small_student, structures
from mlff_core.testing.structures import to_batch

UNKNOWN = (34, 79, 14, 0, -1, -110, 118, 119, 2**40)
"""Se, Au and Si; no element; −110 counts from the end of a table of 119 rows to fluorine; beyond every table."""


@pytest.fixture(scope="session")
def graph_inputs():
    """Return the inputs of an exported graph of the small student for structures, in a precision."""

    def inputs(frames, dtype=torch.float32):
        batch = to_batch(frames).to(dtype=dtype)
        edges = find_neighbors(batch, small_student().card.cutoff)
        return [batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors, batch.system_idx]

    return inputs


@pytest.fixture(scope="session")
def check_unknown_elements(graph_inputs):
    """Check a raw graph: an ethanol with an unknown atom is refused or has no numbers, one beside it has its own.

    The graph takes a list of tensors and gives a list of arrays in the order of ``OUTPUTS``.
    """

    def check(call, dtype=torch.float32):
        inputs = graph_inputs([structures.ethanol(), structures.ethanol()], dtype)
        right = call(inputs)
        assert all(np.isfinite(array).all() for array in right)
        n_refused = 0
        for z in UNKNOWN:
            changed = inputs[0].clone()
            changed[11] = z
            try:
                found = call([changed, *inputs[1:]])
            except Exception as error:  # of the program that opens the file
                assert "does not know the atomic numbers" in str(error), error  # noqa: PT017
                n_refused += 1
                continue
            for array, wanted, first_of_second in zip(found, right, (1, 9, 9, 1), strict=True):
                assert np.isnan(array[first_of_second:]).all(), z
                np.testing.assert_array_equal(array[:first_of_second], wanted[:first_of_second])
        assert n_refused in (0, len(UNKNOWN))

    return check
