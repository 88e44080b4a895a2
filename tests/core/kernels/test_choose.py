"""The choice of a student's kernel."""

from __future__ import annotations

import pytest
import torch

from mlff_core.errors import InputError, MissingDependencyError, UnsupportedError
from mlff_core.kernels.choose import KERNELS, choose_kernel
from mlff_core.model.painn import PaiNN, PaiNNConfig

SMALL = PaiNNConfig(hidden=8, n_radial=4)


def test_the_cpu_kernel_is_the_default_on_a_cpu(make_model, monkeypatch):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    assert choose_kernel(make_model(SMALL, torch.float32)).name == "cpu"
    assert choose_kernel(make_model(SMALL, torch.float64)).name == "cpu"


def test_a_precision_the_cpu_kernel_lacks_gets_the_reference(make_model, monkeypatch):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    assert choose_kernel(make_model(SMALL, torch.bfloat16)).name == "reference"


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "compiled"])  # test_compiled.py has that
def test_the_environment_decides_where_the_caller_does_not(name, make_model, monkeypatch):
    if name.startswith("triton"):
        pytest.importorskip("triton")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("MLFF_KERNEL", name)
    assert choose_kernel(make_model(SMALL, torch.float32)).name == name
    assert choose_kernel(make_model(SMALL), "reference").name == "reference"


@pytest.mark.parametrize("name", ["triton", "triton-fast"])
def test_the_gpu_kernels_are_refused_on_a_cpu_unless_the_interpreter_is_asked_for(name, make_model, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(InputError, match="needs a GPU, but the model is on cpu"):
        choose_kernel(make_model(SMALL), name)


def test_the_gpu_kernels_ask_for_triton_where_it_is_missing(make_model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install triton"):
        choose_kernel(make_model(SMALL), "triton")


def test_the_fast_kernel_is_for_float32(make_model, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(UnsupportedError, match=r"computes in float32, not in torch\.float64"):
        choose_kernel(make_model(SMALL), "triton-fast")


def test_an_unknown_kernel_is_refused(make_model):
    with pytest.raises(InputError, match="no kernel is called 'fastest'; kernels are auto, reference, cpu"):
        choose_kernel(make_model(SMALL), "fastest")


def test_a_network_that_computes_something_else_gets_the_reference(make_model, monkeypatch):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)

    class Doubled(PaiNN):
        def forward(self, atomic_numbers, edge_vectors, centers, neighbors):
            return 2 * super().forward(atomic_numbers, edge_vectors, centers, neighbors)

    assert choose_kernel(Doubled(SMALL)).name == "reference"
    with pytest.raises(UnsupportedError, match="this is a Doubled"):
        choose_kernel(Doubled(SMALL), "cpu")
    hooked = make_model(SMALL)
    hooked.readout.register_forward_hook(lambda module, given, result: 2 * result)
    assert choose_kernel(hooked).name == "reference"
