"""Which kernel is taken."""

import pytest

from mlff_core import InputError
from mlff_core.kernels.choose import KERNELS, choose_kernel
from mlff_core.model.painn import PaiNN, PaiNNConfig

MODEL = PaiNN(PaiNNConfig(hidden=8, n_layers=1))


def test_the_reference_is_the_first_and_can_be_asked_for():
    assert next(iter(KERNELS)) == "reference"
    assert choose_kernel(MODEL, "reference").name == "reference"


def test_the_environment_decides_where_the_caller_does_not(monkeypatch):
    monkeypatch.setenv("MLFF_KERNEL", "abacus")
    with pytest.raises(InputError, match="'abacus'"):
        choose_kernel(MODEL)
    assert choose_kernel(MODEL, "reference").name == "reference"
    monkeypatch.setenv("MLFF_KERNEL", "reference")
    assert choose_kernel(MODEL).name == "reference"
    monkeypatch.setenv("MLFF_KERNEL", "auto")
    assert choose_kernel(MODEL).name in KERNELS


def test_an_unknown_kernel_is_named_with_those_there_are():
    with pytest.raises(InputError, match=r"'abacus'; there are auto, reference"):
        choose_kernel(MODEL, "abacus")
