"""The compiled kernel agrees with the reference, and compiles a model once.

Compiling takes the smallest network most of a minute, so all tests that do are slow ones.
"""

from __future__ import annotations

import logging

import pytest
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.kernels import choose, compiled
from mlff_core.kernels.build import BuildError
from mlff_core.kernels.choose import choose_kernel
from mlff_core.kernels.compiled import CompiledKernel, package_key
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import PRESETS

ALL = ("energy", "forces", "stress", "atom_energies")
SMALL = PaiNNConfig(hidden=8, n_radial=4)
LEAST = PaiNNConfig(elements=(1, 6, 7, 8, 16), hidden=4, n_radial=3, n_layers=1, core=0.0)


class Doubled(PaiNN):
    """A network that the fused kernel does not compute."""

    def forward(self, atomic_numbers, edge_vectors, centers, neighbors):
        return 2 * super().forward(atomic_numbers, edge_vectors, centers, neighbors)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cache that the tests of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(folder, monkeypatch):
    monkeypatch.setenv("MLFF_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def log(caplog):
    choose._log_once.cache_clear()
    caplog.set_level(logging.INFO, "mlff_core.kernels")
    return caplog


@pytest.fixture
def never(monkeypatch):
    """From now on nothing may be compiled."""

    def refuse(*given):
        raise AssertionError("it was compiled")

    return lambda: monkeypatch.setattr(compiled, "_compile", refuse)


def assert_same(given, truth, relative):
    scale = max(1.0, float(truth.forces.abs().max()))
    assert float((given.forces - truth.forces).abs().max()) <= relative * scale
    torch.testing.assert_close(given.energy, truth.energy, rtol=relative, atol=relative)
    torch.testing.assert_close(given.atom_energies, truth.atom_energies, rtol=relative, atol=relative)
    if bool(truth.stress.isfinite().all()):
        strain = max(1.0, float(truth.stress.abs().max()))
        assert float((given.stress - truth.stress).abs().max()) <= relative * strain


@pytest.mark.slow
def test_a_model_is_compiled_once_and_then_opened(cache, make_model, make_structure, truth, monkeypatch, never, log):
    monkeypatch.setenv("MLFF_KERNEL", "compiled")
    model = make_model(LEAST)
    assert choose_kernel(model).name == "compiled"
    assert "compiling the model into" in log.text
    assert str(cache) in log.text
    never()
    kernel = choose_kernel(make_model(LEAST))
    batch = make_structure("batch")
    expected, edges = truth(model, batch)
    assert_same(kernel.evaluate(batch, edges, ALL), expected, 1e-10)
    assert kernel.evaluate(batch, edges, ("energy",)).forces is None


def test_a_damaged_file_is_compiled_again(cache, make_model, monkeypatch):
    model = make_model(SMALL)
    path = compiled._path(model)
    path.write_bytes(b"not a package")
    made = []
    monkeypatch.setattr(compiled, "_compile", lambda model, path, compiler: made.append(path))
    with pytest.raises(BuildError, match="cannot be loaded"):
        CompiledKernel(model)
    assert made == [path]
    path.unlink()


@pytest.mark.slow
def test_a_changed_byte_in_a_package_is_noticed(cache, make_model, make_structure, truth):
    model = make_model(LEAST)
    CompiledKernel(model)
    path = compiled._path(model)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert compiled._load(path) is None
    batch = make_structure("molecule")
    expected, edges = truth(model, batch)
    assert_same(CompiledKernel(model).evaluate(batch, edges, ALL), expected, 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_every_structure_is_the_reference(dtype, relative, structure, cache, make_model, truth):
    model = make_model(PRESETS["ultra-tiny"], dtype)
    batch = structure.to(dtype=dtype)
    expected, edges = truth(model, batch.to(dtype=torch.float64))
    assert_same(CompiledKernel(model).evaluate(batch, edges.to(dtype=dtype), ALL), expected, relative)


@pytest.mark.slow
def test_a_network_of_your_own_is_compiled_too(cache, make_structure, truth):
    torch.manual_seed(0)
    model = Doubled(LEAST).double().eval().requires_grad_(False)
    batch = make_structure("crystal")
    expected, edges = truth(model, batch)
    kernel = choose_kernel(model, "compiled")
    assert_same(kernel.evaluate(batch, edges, ALL), expected, 1e-10)


@pytest.mark.slow
def test_changed_weights_are_seen(cache, make_model, make_structure, truth):
    model = make_model(LEAST)
    kernel = CompiledKernel(model)
    with torch.no_grad():
        model.readout[0].weight.mul_(1.5)
    batch = make_structure("molecule")
    expected, edges = truth(model, batch)
    assert_same(kernel.evaluate(batch, edges, ALL), expected, 1e-10)


def test_nothing_is_compiled_unless_requested(cache, monkeypatch, never, log):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    never()
    assert choose_kernel(Doubled(SMALL)).name == "reference"
    assert "MLFF_KERNEL=compiled compiles it once" in log.text


def test_what_was_compiled_is_taken_where_the_fused_kernel_cannot_be_built(make_model, monkeypatch, log):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)

    def fail(model):
        raise BuildError("no compiler")

    monkeypatch.setattr(choose, "CPUKernel", fail)
    monkeypatch.setattr(choose, "is_cached", lambda model: True)
    monkeypatch.setattr(compiled, "open_package", lambda model: lambda *given: given)
    assert choose_kernel(make_model(SMALL)).name == "compiled"
    assert "the compiled kernel is used, some three times faster than the reference: no compiler" in log.text


def test_without_a_compiler_it_is_refused_by_name(tmp_path, make_model, monkeypatch):
    monkeypatch.setenv("MLFF_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match=r"no C\+\+ compiler was found"):
        choose_kernel(make_model(SMALL), "compiled")


def test_half_precision_is_refused(make_model):
    with pytest.raises(UnsupportedError, match="for float32 and float64"):
        CompiledKernel(make_model(SMALL, torch.bfloat16))


def test_the_key_changes_with_model_torch_and_processor(make_model, monkeypatch):
    keys = {package_key(make_model(SMALL)), package_key(make_model(SMALL, torch.float32))}
    changed = make_model(SMALL)
    with torch.no_grad():
        changed.readout[2].bias.add_(1e-9)
    keys.add(package_key(changed))
    keys.add(package_key(make_model(PaiNNConfig(hidden=8, n_radial=4, cutoff=4.9))))
    assert package_key(make_model(SMALL)) in keys
    monkeypatch.setattr(torch, "__version__", "0.0")
    keys.add(package_key(make_model(SMALL)))
    monkeypatch.setattr(compiled, "processor", lambda: "another")
    keys.add(package_key(make_model(SMALL)))
    assert len(keys) == 6
