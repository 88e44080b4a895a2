"""Devices and precisions by their names."""

import pytest
import torch

from mlff_core import InputError
from mlff_core.models.devices import DTYPES, resolve_device, resolve_dtype


def test_a_device_is_that_of_the_tensors_on_it():
    for name in ("cpu", "auto"):
        assert resolve_device(name) == torch.zeros(1, device=resolve_device(name)).device
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=f"device '{name}' cannot be used.*try auto or cpu"):
        resolve_device(name)


def test_a_precision_has_the_name_of_its_dtype():
    for name, dtype in DTYPES.items():
        assert resolve_dtype(name) == dtype == getattr(torch, name)
    with pytest.raises(InputError, match="dtype must be one of float32, float64, got 'half'"):
        resolve_dtype("half")
