import pytest
import torch

from mlff_core.model.known_elements import KnownElements

OTHERS = (34, 79, 0, -1, -2, -110, -118, -119, 117, 119, 120, 2**40, -(2**60))
"""Counted from the end of a table of 119 rows, −1 is oganesson and −118 hydrogen."""


def test_elements_of_the_model_alone_are_known_whatever_integer_comes():
    elements = KnownElements((1, 6, 118))
    assert elements(torch.tensor([1, 6, 118, *OTHERS])).tolist() == [False] * 3 + [True] * len(OTHERS)


def test_unknown_ones_are_refused_by_their_numbers():
    elements = KnownElements((1, 6))
    elements.refuse(torch.tensor([6, 1, 1]))
    with pytest.raises(RuntimeError, match=r"does not know the atomic numbers \[-1, 34\]; it was made for \[1, 6\]"):
        elements.refuse(torch.tensor([34, 6, -1, 34]))
