"""Charges of every kernel are those of the reference, with their derivatives."""

from __future__ import annotations

import copy

import pytest
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.kernels import parts
from mlff_core.kernels.cpu_gradient import CPUGradientKernel
from mlff_core.kernels.cpu_kernel import CPUKernel, variants
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.charges import ChargeReadout
from mlff_core.model.painn import PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.structures.neighbors import edge_vectors, find_neighbors

ALL = ("energy", "forces", "stress", "atom_energies", "charges")
# Widths that fill no vector, and a readout of charges that is wider than the network.
CONFIGS = {
    "tiny": (PRESETS["tiny"], 24),
    "odd widths": (PaiNNConfig(hidden=22, n_radial=6), 5),
    "wide readout": (PaiNNConfig(hidden=6, n_radial=6, n_layers=2), 45),
    "one layer": (PaiNNConfig(hidden=16, n_radial=6, n_layers=1), 1),
}


@pytest.fixture
def charged(make_model):
    """A network with a readout of charges; ``largest`` multiplies them, so that some are bounded."""

    def make(config, width=24, dtype=torch.float64, largest=1.0):
        model = make_model(config)
        torch.manual_seed(3)
        model.charges = ChargeReadout(model.n_features, width)
        with torch.no_grad():
            for parameter in model.charges.parameters():
                if parameter.ndim == 1:
                    parameter.normal_(0, 0.1)
            model.charges[2].weight *= largest
        return model.to(dtype).requires_grad_(False)

    return make


def assert_same(given, expected, relative):
    for name in ALL:
        one, other = getattr(given, name), getattr(expected, name)
        if one is None or not bool(other.isfinite().all()):
            continue
        assert float((one - other).abs().max()) <= relative * max(1.0, float(other.abs().max())), name


@pytest.mark.parametrize("name", CONFIGS)
def test_every_width_is_the_reference(name, charged, make_structure, truth):
    model, batch = charged(*CONFIGS[name]), make_structure("batch")
    expected, edges = truth(model, batch, ALL)
    assert float(expected.charges.std()) > 0.01
    assert_same(CPUKernel(model).evaluate(batch, edges, ALL), expected, 1e-8)
    alone = CPUKernel(model).evaluate(batch, edges, ("charges",))
    assert_same(alone, expected, 1e-8)
    assert alone.forces is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_charges_are_bounded_in_every_kernel(dtype, charged, make_structure, truth):
    """Some within ±2 e, which are unchanged, and some beyond, which stay within ±3 e; with their derivatives."""
    model, batch = charged(PRESETS["tiny"], 24, dtype, largest=6.0), make_structure("batch").to(dtype=dtype)
    expected, edges = truth(model, batch.to(dtype=torch.float64), ALL)
    sizes = expected.charges.abs()
    assert sizes.min() < 2.0 < sizes.max() <= 3.0
    relative = 1e-8 if dtype == torch.float64 else 2e-5
    assert_same(CPUKernel(model).evaluate(batch, edges, ALL), expected, relative)
    largest, smallest = int(sizes.argmax()), int(sizes.argmin())
    with torch.no_grad():
        features = (
            copy.deepcopy(model)
            .double()
            .seen(
                batch.atomic_numbers, edge_vectors(batch.to(dtype=torch.float64), edges), edges.centers, edges.neighbors
            )[2]
        )
        unbounded = copy.deepcopy(model.charges).double()(features).squeeze(1)
    assert unbounded.abs()[largest] > sizes[largest]
    assert abs(float(unbounded[smallest] - expected.charges[smallest])) <= 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", variants())
def test_every_variant_is_the_reference(variant, dtype, charged, make_structure, truth):
    batch = make_structure("crystal").to(dtype=dtype)
    model = charged(*CONFIGS["odd widths"], dtype)
    expected, edges = truth(model, batch.to(dtype=torch.float64), ALL)
    found = CPUKernel(model, variant).evaluate(batch, edges, ALL)
    assert found.charges.dtype == dtype
    assert_same(found, expected, 1e-5 if dtype == torch.float32 else 1e-8)


def test_energies_and_forces_are_the_same_bits_with_and_without_charges(charged, make_model, make_structure):
    for dtype in (torch.float32, torch.float64):
        batch = make_structure("crystal").to(dtype=dtype)
        edges = find_neighbors(batch, 5.0)
        with_charges, without = charged(PRESETS["tiny"], dtype=dtype), make_model(PRESETS["tiny"], dtype)
        wanted = CPUKernel(without).evaluate(batch, edges, ("energy", "forces"))
        for want in (("energy", "forces"), ("energy", "forces", "charges")):
            found = CPUKernel(with_charges).evaluate(batch, edges, want)
            assert torch.equal(found.energy, wanted.energy)
            assert torch.equal(found.forces, wanted.forces)
            assert (found.charges is None) == ("charges" not in want)


def test_parts_add_up_to_the_whole(charged, make_structure, monkeypatch):
    batch = make_structure("crystal")
    model = charged(PaiNNConfig(hidden=16, n_radial=6, cutoff=3.0))
    edges = find_neighbors(batch, 3.0)
    whole = CPUKernel(model).evaluate(batch, edges, ALL)
    monkeypatch.setattr(parts, "FEWEST", 10)
    assert_same(CPUKernel(model, memory_bytes=1).evaluate(batch, edges, ALL), whole, 1e-12)


def test_changed_weights_are_seen_by_the_next_evaluation(charged, make_structure):
    batch, model = make_structure("molecule"), charged(PRESETS["ultra-tiny"], largest=0.1)
    edges, kernel = find_neighbors(batch, 5.0), CPUKernel(model)
    before = kernel.evaluate(batch, edges, ("charges",)).charges
    model.charges[2].bias.add_(0.25)
    assert torch.allclose(kernel.evaluate(batch, edges, ("charges",)).charges, before + 0.25, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("largest", [1.0, 6.0])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_in_the_parameters_is_autograds(name, largest, dtype, charged, make_structure):
    batch = make_structure("batch").to(dtype=dtype)
    exact_batch = batch.to(dtype=torch.float64)
    model = charged(*CONFIGS[name], dtype, largest).requires_grad_()
    edges = find_neighbors(exact_batch, 5.0)
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(batch.n_atoms, dtype=torch.float64, generator=generator) for _ in range(2))
    exact = copy.deepcopy(model).double()
    vectors = edge_vectors(exact_batch, edges)
    energies, charges = exact.energies_and_charges(batch.atomic_numbers, vectors, edges.centers, edges.neighbors)
    (a * energies + b * charges).sum().backward()
    kernel = CPUGradientKernel(model)
    kernel.refresh()
    kernel.add_gradient(batch, find_neighbors(batch, 5.0), a, b)
    relative = 1e-8 if dtype == torch.float64 else 2e-5
    zero = torch.zeros(())
    gradients = {name: zero if p.grad is None else p.grad for name, p in exact.named_parameters()}
    largest = max(float(gradient.norm()) for gradient in gradients.values())
    for name, parameter in model.named_parameters():
        bound = relative * max(float(gradients[name].norm()), 1e-3 * largest)
        assert float((parameter.grad.double() - gradients[name]).norm()) <= bound, name


def test_forces_through_the_charges_are_their_derivatives(charged, make_structure):
    """The force of Σ φ q, with the potentials φ held fixed: what a field or a solvent exerts through the charges."""
    model, batch = charged(PRESETS["tiny"]), make_structure("cell smaller than the cutoff")
    edges, kernel = find_neighbors(batch, 5.0), CPUKernel(model)
    potentials = torch.randn(batch.n_atoms, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    forces = torch.empty_like(batch.positions)
    kernel._handle.call(batch, edges, charge_cotangents=potentials, forces=forces)
    forces -= kernel.evaluate(batch, edges, ("forces",)).forces

    def energy(positions):
        return float((potentials * kernel.evaluate(batch.with_positions(positions), edges, ("charges",)).charges).sum())

    step = 1e-4
    for i in range(batch.n_atoms):
        for c in range(3):
            shift = torch.zeros_like(batch.positions)
            shift[i, c] = step
            far, near = (energy(batch.positions + k * shift) - energy(batch.positions - k * shift) for k in (2, 1))
            assert float(forces[i, c]) == pytest.approx(-(8 * near - far) / (12 * step), rel=1e-6, abs=1e-7)


def test_a_network_without_charges_gives_none(make_model, make_structure):
    model, batch = make_model(PRESETS["ultra-tiny"]), make_structure("molecule")
    with pytest.raises(UnsupportedError):
        CPUKernel(model).evaluate(batch, find_neighbors(batch, 5.0), ("charges",))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gpu_kernels_are_the_reference(dtype, charged, make_structure, truth):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the interpreter is for machines without a GPU")
    from mlff_core.kernels.triton.kernel import TritonKernel

    batch = make_structure(5).to(dtype=dtype)
    model = charged(PaiNNConfig(hidden=16, n_layers=2, n_radial=6), 5, dtype)
    want = ("energy", "forces", "charges")
    expected, edges = truth(model, batch.to(dtype=torch.float64), want)
    kernel = TritonKernel(model)
    assert_same(
        kernel.evaluate(batch, edges.to(dtype=dtype), want), expected, 1e-5 if dtype == torch.float32 else 1e-11
    )
    assert kernel.evaluate(batch, edges.to(dtype=dtype), ("energy", "forces")).charges is None


@pytest.mark.slow
def test_the_compiled_kernel_is_the_reference(charged, make_structure, truth, tmp_path, monkeypatch):
    from mlff_core.kernels.compiled import CompiledKernel

    monkeypatch.setenv("MLFF_CACHE_DIR", str(tmp_path))
    batch = make_structure("cell smaller than the cutoff")
    model = charged(PaiNNConfig(elements=(1, 6, 7, 8, 16), hidden=4, n_radial=3, n_layers=1), 3)
    expected, edges = truth(model, batch, ALL)
    assert_same(CompiledKernel(model).evaluate(batch, edges, ALL), expected, 1e-10)


def test_the_reference_gives_the_same_forces_with_charges(charged, make_structure):
    model, batch = charged(PRESETS["ultra-tiny"]), make_structure("molecule")
    edges, kernel = find_neighbors(batch, 5.0), ReferenceKernel(model)
    plain = kernel.evaluate(batch, edges, ("forces",))
    found = kernel.evaluate(batch, edges, ("forces", "charges"))
    assert torch.equal(plain.forces, found.forces)
    assert torch.equal(found.charges, kernel.evaluate(batch, edges, ("charges",)).charges)
    assert not found.charges.requires_grad
