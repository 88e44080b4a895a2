import pytest
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.structures.prediction import Prediction


def test_a_property_that_is_there_is_returned_itself():
    forces = torch.ones(2, 3)
    assert Prediction(torch.zeros(1, dtype=torch.float64), forces=forces).need("forces", "pairs") is forces


def test_a_property_that_is_not_there_is_refused_with_the_name_and_the_consequence():
    with pytest.raises(UnsupportedError, match=r"^pairs gives no stress, so it cannot run npt$"):
        Prediction(torch.zeros(1, dtype=torch.float64)).need("stress", "pairs", "so it cannot run npt")
