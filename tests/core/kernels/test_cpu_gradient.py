"""The CPU kernel's gradient in the parameters is autograd's of the reference."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.kernels.cpu_gradient import TRAINING_INTERVALS, CPUGradientKernel
from mlff_core.kernels.cpu_kernel import CPUKernel, variants
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.structures.neighbors import edge_vectors, find_neighbors

SMALL = PaiNNConfig(hidden=16, n_radial=6)


def factors(n_atoms):
    return torch.randn(n_atoms, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def flat_gradient(model):
    return torch.cat([parameter.grad.double().reshape(-1) for parameter in model.parameters()])


@pytest.fixture
def exact_gradient():
    """Gradient of a weighted sum of atom energies by autograd in float64, and the edges."""

    def make(model, batch):
        model = copy.deepcopy(model).double().requires_grad_()
        edges = find_neighbors(batch, model.cutoff)
        energies = model(batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors)
        (factors(batch.n_atoms) * energies).sum().backward()
        for parameter in model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in model.parameters()], edges

    return make


def check(kernel, batch, edges, expected, relative):
    """Compare each parameter's gradient by itself, so that a small one cannot hide behind a large one."""
    model = kernel.model
    model.zero_grad()
    kernel.refresh()
    kernel.add_gradient(batch, edges, factors(batch.n_atoms))
    largest = max(float(grad.norm()) for grad in expected)
    assert largest > 0
    for (name, parameter), grad in zip(model.named_parameters(), expected, strict=True):
        bound = relative * max(float(grad.norm()), 1e-3 * largest)
        assert float((parameter.grad.double() - grad).norm()) <= bound, name


def test_every_shape_of_network_has_the_gradient_of_autograd(network, make_model, make_structure, exact_gradient):
    model = make_model(network).requires_grad_()
    batch = make_structure("batch")
    expected, edges = exact_gradient(model, batch)
    check(CPUGradientKernel(model), batch, edges, expected, 1e-8)


def test_every_structure_has_the_gradient_of_autograd(structure, make_model, exact_gradient):
    model = make_model(PRESETS["ultra-tiny"]).requires_grad_()
    expected, edges = exact_gradient(model, structure)
    check(CPUGradientKernel(model), structure, edges, expected, 1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", variants())
def test_every_variant_has_the_gradient_of_autograd(variant, dtype, make_model, make_structure, exact_gradient):
    # Widths that fill no vector: what is padding must stay out of every sum.
    model = make_model(replace(SMALL, hidden=22), dtype).requires_grad_()
    kernel = CPUGradientKernel(model, variant)
    assert kernel.variant == variant
    batch = make_structure("batch").to(dtype=dtype)
    expected, edges = exact_gradient(model, batch.to(dtype=torch.float64))
    check(kernel, batch, edges, expected, 1e-8 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_float32_has_the_gradient_of_float64(preset, make_model, make_structure, exact_gradient):
    model = make_model(PRESETS[preset], torch.float32).requires_grad_()
    batch = make_structure("batch").to(dtype=torch.float32)
    expected, edges = exact_gradient(model, batch.to(dtype=torch.float64))
    check(CPUGradientKernel(model), batch, edges, expected, 2e-5)


def test_energies_are_differentiable_in_the_parameters(make_model, make_structure):
    model = make_model(SMALL).requires_grad_()
    batch = make_structure("batch")
    edges = find_neighbors(batch, 5.0)
    kernel = CPUGradientKernel(model)
    by_kernel = kernel.atom_energies(batch, edges)
    by_network = model(batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors)
    torch.testing.assert_close(by_kernel, by_network, rtol=1e-10, atol=1e-10)
    found = []
    for energies in (by_kernel, by_network):
        model.zero_grad()
        (0.1 * energies).sin().sum().backward()
        found.append(flat_gradient(model))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-9)


def test_a_step_against_the_gradient_is_seen_at_the_next_refresh(make_model, make_structure):
    model = make_model(PRESETS["ultra-tiny"]).requires_grad_()
    batch = make_structure("batch")
    edges = find_neighbors(batch, 5.0)
    kernel = CPUGradientKernel(model)
    before = kernel.atom_energies(batch, edges).sum()
    before.backward()
    before = before.detach()
    gradient, rate = flat_gradient(model), 1e-7
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= rate * parameter.grad
    kernel.refresh()
    energies, forces, virial, _ = kernel.evaluate(batch, edges, virial=True)
    assert float(before - energies.sum()) == pytest.approx(rate * float(gradient @ gradient), rel=1e-3)
    fresh = CPUKernel(model, n_intervals=TRAINING_INTERVALS[torch.float64]).evaluate(batch, edges, ("forces",))
    torch.testing.assert_close(forces, fresh.forces, rtol=1e-8, atol=1e-10)
    assert virial.shape == (batch.n_systems, 3, 3)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_gradient_is_the_same_to_the_last_bit_at_every_call(n_threads, make_model, make_structure, exact_gradient):
    model = make_model(PRESETS["original"], torch.float32).requires_grad_()
    batch = make_structure("batch").to(dtype=torch.float32)
    expected, edges = exact_gradient(model, batch.to(dtype=torch.float64))
    kernel = CPUGradientKernel(model)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        found = []
        for _ in range(3):
            check(kernel, batch, edges, expected, 2e-5)
            found.append(flat_gradient(model))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_the_kernel_does_not_compute_is_refused(make_model):
    class Other(PaiNN):
        pass

    with pytest.raises(UnsupportedError, match="a Other on cpu"):
        CPUGradientKernel(Other(SMALL))
    with pytest.raises(UnsupportedError, match="float16"):
        CPUGradientKernel(make_model(SMALL).half())
