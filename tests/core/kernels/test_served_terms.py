"""A kernel that lacks a term of the energy refuses the student, and the automatic choice falls to the reference."""

from __future__ import annotations

import logging

import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.errors import UnsupportedError
from mlff_core.kernels import choose
from mlff_core.kernels.choose import choose_kernel
from mlff_core.kernels.compiled import CompiledKernel
from mlff_core.kernels.cpu_gradient import CPUGradientKernel
from mlff_core.kernels.cpu_kernel import packed
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.zbl import ZBLRepulsion
from mlff_core.potentials.student import StudentPotential

CONFIG = PaiNNConfig(elements=(1, 6, 7, 8, 16), hidden=8, n_layers=2, n_radial=4)


@pytest.fixture
def extended(make_attraction):
    """A student with a term that only the reference kernel computes."""
    return PaiNN(CONFIG, [ZBLRepulsion.make(CONFIG), make_attraction(CONFIG, 7.0)]).requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "consumer"),
    [
        (lambda model: choose_kernel(model, "cpu"), "the CPU kernel"),
        (CPUGradientKernel, "the CPU kernel"),
        (packed, "the CPU kernel"),
        (CompiledKernel, "the kernel 'compiled'"),
    ],
    ids=["cpu", "gradient", "packed for LAMMPS", "compiled"],
)
def test_the_term_the_kernel_and_the_remedy_are_named(make, consumer, extended):
    message = f"term 'attraction', which {consumer} does not .*use kernel='reference'"
    with pytest.raises(UnsupportedError, match=message):
        make(extended)


@pytest.mark.parametrize("name", ["triton", "triton-fast"])
def test_the_gpu_kernels_name_the_term(name, extended, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(UnsupportedError, match=r"term 'attraction', which the kernel 'triton'.*use kernel='reference'"):
        choose_kernel(extended, name)


def test_the_automatic_choice_is_the_reference_and_the_log_has_the_reason(extended, monkeypatch, caplog):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    choose._log_once.cache_clear()
    with caplog.at_level(logging.INFO, "mlff_core.kernels"):
        assert choose_kernel(extended).name == "reference"
    assert "'attraction'" in caplog.text
    assert "MLFF_KERNEL=compiled" not in caplog.text, "it does not compute the term either"


def test_a_student_with_a_term_of_its_own_reach_predicts_in_a_batch_as_alone(extended, make_structure):
    student = StudentPotential(extended, ModelCard("extended", CONFIG.elements, 7.0), dtype=torch.float64)
    batch = make_structure("batch")
    whole = student.predict(batch, want=("energy", "forces"))
    alone = student.predict(make_structure(13, 3), want=("energy", "forces"))
    torch.testing.assert_close(whole.energy[:1], alone.energy)
    torch.testing.assert_close(whole.forces[:13], alone.forces)
