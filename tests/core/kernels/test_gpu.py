"""The GPU kernels on a GPU: ``pytest -m gpu tests/core/kernels/test_gpu.py``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton")
if not torch.cuda.is_available():
    pytest.skip("no CUDA GPU is here", allow_module_level=True)
pytestmark = pytest.mark.gpu

from mlff_core.kernels.choose import choose_kernel
from mlff_core.model.presets import PRESETS
from mlff_core.structures.neighbors import find_neighbors

ALL = ("energy", "forces", "stress", "atom_energies")
GPU = torch.device("cuda:0")


def relative(given, truth):
    return float((given.cpu().double() - truth).abs().max()) / max(1.0, float(truth.abs().max()))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("kind", "dtype", "tolerance"),
    [("triton", torch.float64, 1e-9), ("triton", torch.float32, 1e-5), ("triton-fast", torch.float32, 3e-3)],
)
def test_every_structure_is_the_reference(kind, dtype, tolerance, preset, structure, make_model, truth):
    expected, edges = truth(make_model(PRESETS[preset]), structure)
    kernel = choose_kernel(make_model(PRESETS[preset], dtype).to(GPU), kind)
    given = kernel.evaluate(structure.to(GPU, dtype), edges.to(GPU, dtype), ALL)
    assert relative(given.forces, expected.forces) <= tolerance
    assert relative(given.atom_energies, expected.atom_energies) <= tolerance
    finite = expected.stress.isfinite()
    if bool(finite.any()):
        assert relative(given.stress[finite.to(GPU)], expected.stress[finite]) <= 3 * tolerance


def test_the_gpu_kernel_is_the_default_on_a_gpu(make_model, monkeypatch):
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    assert choose_kernel(make_model(PRESETS["tiny"], torch.float32).to(GPU)).name == "triton"


def test_a_graph_gives_the_same_bits_at_every_replay(make_model, make_structure):
    batch = make_structure("molecule").to(GPU, torch.float32)
    edges = find_neighbors(batch, 5.0)
    kernel = choose_kernel(make_model(PRESETS["tiny"], torch.float32).to(GPU), "triton")
    first = kernel.evaluate(batch, edges, ALL)
    for _ in range(5):
        assert torch.equal(kernel.evaluate(batch, edges, ALL).forces, first.forces)


@pytest.mark.parametrize("skin", [None, 0.5])
@pytest.mark.parametrize("what", ["molecule", "crystal", "batch"])
def test_steps_of_moving_atoms_are_the_reference(what, skin, make_model, make_structure, truth):
    from mlff_core.kernels.triton.parameters import read_parameters
    from mlff_core.kernels.triton.stepper import Stepper

    batch = make_structure(what)
    model = make_model(PRESETS["tiny"])
    stepper = Stepper(read_parameters(make_model(PRESETS["tiny"]).to(GPU), fast=False), batch.to(GPU), skin=skin)
    noise = torch.Generator().manual_seed(0)
    for size in (0.0, 0.02, 0.05):
        shift = size * torch.randn(batch.positions.shape, generator=noise, dtype=torch.float64)
        now = batch.with_positions(batch.positions + shift)
        expected, _ = truth(model, now, ("energy", "forces"))
        assert relative(stepper.step(now.positions.to(GPU)).forces, expected.forces) <= 1e-9


@pytest.mark.parametrize("what", ["molecule", "crystal", "batch"])
def test_structures_that_move_through_a_potential_are_the_reference(what, make_model, make_structure, truth):
    from mlff_core.card import ModelCard
    from mlff_core.potentials.student import StudentPotential
    from mlff_core.potentials.verlet import VerletPotential

    batch, config = make_structure(what), PRESETS["tiny"]
    card = ModelCard(name="tiny", elements=config.elements, cutoff=config.cutoff)
    moving = VerletPotential(StudentPotential(make_model(config), card, device=GPU, dtype=torch.float64))
    noise = torch.Generator().manual_seed(0)
    periodic = bool(batch.pbc.all())
    want = ("energy", "forces", "stress") if periodic else ("energy", "forces")
    for stretch in (1.0, 1.0, 1.0, 1.01, 1.02):
        shift = 0.02 * torch.randn(batch.positions.shape, generator=noise, dtype=torch.float64)
        now = replace(batch, positions=stretch * (batch.positions + shift), cell=stretch * batch.cell)
        expected, _ = truth(make_model(config), now, want)
        given = moving.predict(now.to(GPU), want=want)
        assert relative(given.forces, expected.forces) <= 1e-9
        assert not periodic or relative(given.stress, expected.stress) <= 3e-9
    assert moving.neighbors.n_builds == 0
