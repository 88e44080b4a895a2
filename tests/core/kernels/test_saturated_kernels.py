"""Kernels bound the learned energy of an atom as the reference does, in energies, forces, stresses and gradients."""

from __future__ import annotations

import copy

import pytest
import torch

from mlff_core.kernels import parts
from mlff_core.kernels.cpu_gradient import CPUGradientKernel
from mlff_core.kernels.cpu_kernel import CPUKernel, variants
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.painn import PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.model.saturation import Saturation
from mlff_core.structures.neighbors import edge_vectors, find_neighbors

ALL = ("energy", "forces", "stress", "atom_energies")
SMALL = PaiNNConfig(hidden=22, n_radial=6)


@pytest.fixture
def saturated(make_model, truth):
    """A network, and bounds, other ones for each element, that a third of a structure's atoms exceed on either side."""

    def make(config, batch, dtype=torch.float64):
        model = make_model(config, dtype)
        rest = copy.deepcopy(model)
        rest.scale.zero_()
        whole, terms = (truth(one, batch)[0].atom_energies for one in (model, rest))
        learned = whole - terms
        low, high = (float(learned.quantile(share)) for share in (1 / 3, 2 / 3))
        steps = torch.linspace(0.0, 0.01, len(config.elements)).tolist()
        bounds = Saturation([low + step for step in steps], [high + step + 0.01 for step in steps], 0.3)
        model.saturation = bounds.to(dtype)
        outside = (learned < low) | (learned > high + 0.02)
        assert 0 < int(outside.sum()) < batch.n_atoms
        return model

    return make


def assert_same(given, expected, relative):
    for name in ALL:
        one, other = getattr(given, name), getattr(expected, name)
        if one is None or not bool(other.isfinite().all()):
            continue
        assert float((one - other).abs().max()) <= relative * max(1.0, float(other.abs().max())), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", variants())
def test_every_variant_is_the_reference(variant, dtype, saturated, make_structure, truth):
    batch = make_structure("crystal").to(dtype=dtype)
    model = saturated(PRESETS["ultra-tiny"], batch.to(dtype=torch.float64), dtype)
    expected, edges = truth(model, batch.to(dtype=torch.float64))
    kernel = CPUKernel(model, variant)
    assert_same(kernel.evaluate(batch, edges, ALL), expected, 1e-5 if dtype == torch.float32 else 1e-8)
    assert_same(kernel.evaluate(batch, edges, ("atom_energies",)), expected, 1e-5)


def test_within_wide_bounds_every_bit_is_the_same(make_model, make_structure):
    for dtype in (torch.float32, torch.float64):
        batch = make_structure("batch").to(dtype=dtype)
        edges = find_neighbors(batch, 5.0)
        model = make_model(PRESETS["ultra-tiny"], dtype)
        plain = CPUKernel(model).evaluate(batch, edges, ALL)
        model.saturation = Saturation([-100.0] * 8, [100.0] * 8, 1.0).to(dtype)
        found = CPUKernel(model).evaluate(batch, edges, ALL)
        for name in ("energy", "forces", "atom_energies"):
            assert torch.equal(getattr(plain, name), getattr(found, name))


def test_changed_bounds_are_seen_by_the_next_evaluation(saturated, make_structure):
    batch = make_structure("molecule")
    model = saturated(PRESETS["ultra-tiny"], batch)
    edges = find_neighbors(batch, 5.0)
    kernel = CPUKernel(model)
    kernel.evaluate(batch, edges, ALL)
    model.saturation.lowest.add_(0.05)
    expected = ReferenceKernel(model).evaluate(batch, edges, ALL)
    assert_same(kernel.evaluate(batch, edges, ALL), expected, 1e-8)


def test_parts_add_up_to_the_whole(saturated, make_structure, monkeypatch):
    batch = make_structure("crystal")
    model = saturated(PaiNNConfig(hidden=16, n_radial=6, cutoff=3.0), batch)
    edges = find_neighbors(batch, 3.0)
    whole = CPUKernel(model).evaluate(batch, edges, ALL)
    monkeypatch.setattr(parts, "FEWEST", 10)
    assert_same(CPUKernel(model, memory_bytes=1).evaluate(batch, edges, ALL), whole, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", variants())
def test_the_gradient_in_the_parameters_is_autograds(variant, dtype, saturated, make_structure):
    batch = make_structure("batch").to(dtype=dtype)
    exact_batch = batch.to(dtype=torch.float64)
    model = saturated(SMALL, exact_batch, dtype).requires_grad_()
    edges = find_neighbors(exact_batch, 5.0)
    factors = torch.randn(batch.n_atoms, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = copy.deepcopy(model).double()
    energies = exact(batch.atomic_numbers, edge_vectors(exact_batch, edges), edges.centers, edges.neighbors)
    (factors * energies).sum().backward()
    kernel = CPUGradientKernel(model, variant)
    kernel.refresh()
    kernel.add_gradient(batch, find_neighbors(batch, 5.0), factors)
    relative = 1e-8 if dtype == torch.float64 else 2e-5
    gradients = {name: parameter.grad for name, parameter in exact.named_parameters()}
    largest = max(float(gradient.norm()) for gradient in gradients.values())
    for name, parameter in model.named_parameters():
        bound = relative * max(float(gradients[name].norm()), 1e-3 * largest)
        assert float((parameter.grad.double() - gradients[name]).norm()) <= bound, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gpu_kernels_are_the_reference(dtype, saturated, make_structure, truth):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the interpreter is for machines without a GPU")
    from mlff_core.kernels.triton.kernel import TritonKernel

    batch = make_structure(5).to(dtype=dtype)
    model = saturated(PaiNNConfig(hidden=16, n_layers=2, n_radial=6), batch.to(dtype=torch.float64), dtype)
    expected, edges = truth(model, batch.to(dtype=torch.float64))
    found = TritonKernel(model).evaluate(batch, edges.to(dtype=dtype), ("energy", "forces", "atom_energies"))
    assert_same(found, expected, 1e-5 if dtype == torch.float32 else 1e-11)


@pytest.mark.slow
def test_the_compiled_kernel_is_the_reference(saturated, make_structure, truth, tmp_path, monkeypatch):
    from mlff_core.kernels.compiled import CompiledKernel

    monkeypatch.setenv("MLFF_CACHE_DIR", str(tmp_path))
    batch = make_structure("cell smaller than the cutoff")
    model = saturated(PaiNNConfig(elements=(1, 6, 7, 8, 16), hidden=4, n_radial=3, n_layers=1), batch)
    expected, edges = truth(model, batch)
    assert_same(CompiledKernel(model).evaluate(batch, edges, ALL), expected, 1e-10)
