"""Every kernel, forced by ``MLFF_KERNEL``, passes ASE's contract and agrees with a file that holds the network itself.

Compiling and interpreting take minutes, so those two are slow tests, in float32 and with the smallest of networks; on a
machine with a GPU the Triton kernel runs there.
"""

from __future__ import annotations

import os
from typing import ClassVar

import pytest
import torch

# Triton reads it when it is imported: where there is no GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from mlff_core.card import ModelCard
from mlff_core.export import parity
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.plugins.host import host
from mlff_core.potentials.student import StudentPotential
from mlff_core.testing import EngineContract, engine_contract, small_student, structures
from mlff_plugins.ase import ASEEngine

GPU = "cuda" if torch.cuda.is_available() else "cpu"


def least_student(*, device="cpu", dtype=torch.float32):
    """Return a student of the contracts' elements that is quick to compile and to interpret."""
    config = PaiNNConfig(elements=(1, 6, 7, 8), hidden=8, n_radial=4, n_layers=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PaiNN(config)
    card = ModelCard("least-student", config.elements, config.cutoff)
    return StudentPotential(model, card, device=device, dtype=dtype)


def small_cluster(n_atoms=12):
    """Return a cluster of at most 12 atoms, for kernels that take a tenth of a second per atom."""
    return cluster(min(n_atoms, 12))


cluster = structures.cluster


def in_single_precision():
    engine = ASEEngine()
    engine.capabilities = engine.capabilities - {"float64"}
    return engine


class Forced(EngineContract):
    """ASE's contract with a forced kernel, without the tests that do not depend on the kernel."""

    kernel: ClassVar[str]
    engine = ASEEngine()
    potentials = ("student",)
    test_importing_the_plugin_imports_no_engine = None
    test_without_its_package_the_hint_is_shown = None
    test_a_version_outside_the_supported_range_is_refused_before_the_run = None

    @pytest.fixture(autouse=True)
    def _forced(self, monkeypatch):
        monkeypatch.setenv("MLFF_KERNEL", self.kernel)

    def test_the_kernel_is_the_forced_one(self):
        for bound in self._models():
            assert bound.potential.kernel.name == self.kernel


class ForcedAndSlow(Forced):
    engine = in_single_precision()
    n_repeats = 3
    # It opens two models, and each is compiled for itself.
    test_a_model_file_changed_during_a_run_changes_nothing = None

    @pytest.fixture(autouse=True)
    def _least(self, monkeypatch):
        monkeypatch.setitem(engine_contract.MAKERS, "student", least_student)
        monkeypatch.setattr(structures, "cluster", small_cluster)


class TestReference(Forced):
    kernel = "reference"


class TestCPU(Forced):
    kernel = "cpu"


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestCompiled(ForcedAndSlow):
    kernel = "compiled"


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestTriton(ForcedAndSlow):
    kernel = "triton"
    device = GPU

    @pytest.fixture(autouse=True)
    def _triton(self):
        pytest.importorskip("triton")


SLOW = (pytest.mark.slow, pytest.mark.timeout(3600))


@pytest.mark.parametrize(
    ("kernel", "make"),
    [
        ("reference", small_student),
        ("cpu", small_student),
        pytest.param("compiled", least_student, marks=SLOW),
        pytest.param("triton", least_student, marks=SLOW),
    ],
)
def test_the_certificate_holds_against_a_file_of_the_network(kernel, make, monkeypatch):
    """TorchScript's file runs the reference's own code, whatever kernel the model has."""
    if kernel == "triton":
        pytest.importorskip("triton")
    monkeypatch.setenv("MLFF_KERNEL", kernel)
    if make is least_student:
        monkeypatch.setattr(structures, "cluster", small_cluster)
    potential = make(device=GPU if kernel == "triton" else "cpu")
    assert potential.kernel.name == kernel
    report = parity.certify(potential, host(), only=("torchscript",))
    assert len(report.rows) > 5
    assert not [row for row in report.rows if row.status != "ok"], report.rows
