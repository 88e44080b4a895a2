"""The GPU kernels agree with the reference: here in Triton's interpreter, in test_gpu.py on a GPU.

The interpreter takes a fifth of a second an atom, so the structures are small.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("the interpreter is for machines without a GPU; test_gpu.py is for this one", allow_module_level=True)

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.kernels.triton.arrays import Tiling
from mlff_core.kernels.triton.kernel import TritonKernel, bucket
from mlff_core.model.painn import PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.structures.batch import concatenate, single, split
from mlff_core.structures.neighbors import EdgeList, find_neighbors

ALL = ("energy", "forces", "stress", "atom_energies")
SMALL = PaiNNConfig(hidden=16, n_layers=2, n_radial=6)
CONFIGS = {
    "gaussians, own filters": replace(SMALL, radial_basis="gaussian"),
    "one layer, shared filters": replace(SMALL, n_layers=1, shared_filters=True),
    "four layers, odd width, short cutoff": replace(SMALL, n_layers=4, hidden=13, cutoff=3.3),
    "no core": replace(SMALL, core=0.0),
}
STRUCTURES = [
    5,
    "cell smaller than the cutoff",
    "one atom that sees its own images",
    "wire",
    "one atom",
    "two atoms that do not see each other",
    "two atoms in the range of the repulsion",
    "atoms at the edge of each other's cores",
]


def assert_same(given, truth, relative):
    scale = max(1.0, float(truth.forces.abs().max()))
    assert float((given.forces - truth.forces).abs().max()) <= relative * scale
    energies = max(1.0, float(truth.atom_energies.abs().max()))
    assert float((given.atom_energies - truth.atom_energies).abs().max()) <= relative * energies
    torch.testing.assert_close(given.energy, truth.energy, rtol=relative, atol=relative)
    finite = truth.stress.isfinite()
    strain = max(1.0, float(truth.stress[finite].abs().max())) if bool(finite.any()) else 1.0
    assert float((given.stress - truth.stress)[finite].abs().sum()) <= 9 * relative * strain


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_is_the_reference(name, make_model, make_structure, truth):
    batch = make_structure(name)
    expected, edges = truth(make_model(PRESETS["ultra-tiny"]), batch)
    kernel = TritonKernel(make_model(PRESETS["ultra-tiny"], torch.float32))
    assert_same(kernel.evaluate(batch.to(dtype=torch.float32), edges.to(dtype=torch.float32), ALL), expected, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["molecule", "crystal", "slab", "batch"])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_larger_structure_is_the_reference(name, preset, make_model, make_structure, truth):
    batch = make_structure(name)
    expected, edges = truth(make_model(PRESETS[preset]), batch)
    kernel = TritonKernel(make_model(PRESETS[preset], torch.float32))
    assert_same(kernel.evaluate(batch.to(dtype=torch.float32), edges.to(dtype=torch.float32), ALL), expected, 1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shape_of_network_is_the_reference_in_float64(name, make_model, make_structure, truth):
    model = make_model(CONFIGS[name])
    batch = make_structure(4)
    expected, edges = truth(model, batch)
    assert_same(TritonKernel(model).evaluate(batch, edges, ALL), expected, 1e-12)


def test_cores_are_the_references_in_float64(make_model, make_structure, truth):
    batch = make_structure("atoms at the edge of each other's cores")
    given = {}
    for core in (0.0, 0.7):
        model = make_model(replace(SMALL, core=core))
        expected, edges = truth(model, batch)
        assert_same(TritonKernel(model).evaluate(batch, edges, ALL), expected, 1e-12)
        given[core] = expected.forces
    assert float((given[0.0] - given[0.7]).abs().max()) > 1e-3


def test_channels_and_atoms_may_be_divided_over_programs(make_model, make_structure, truth):
    model = make_model(replace(SMALL, hidden=40))
    batch = make_structure(3)
    expected, edges = truth(model, batch)
    tiling = Tiling(edges=16, channels=16, atoms=3)
    assert_same(TritonKernel(model, tiling=tiling).evaluate(batch, edges, ALL), expected, 1e-12)


def test_the_fast_mode_keeps_its_own_tolerance(make_model, make_structure, truth):
    batch = make_structure(5)
    expected, edges = truth(make_model(PRESETS["ultra-tiny"]), batch)
    kernel = TritonKernel(make_model(PRESETS["ultra-tiny"], torch.float32), fast=True)
    given = kernel.evaluate(batch.to(dtype=torch.float32), edges.to(dtype=torch.float32), ("energy", "forces"))
    error = float((given.forces - expected.forces).norm() / expected.forces.norm())
    assert 1e-7 < error < 1e-3
    assert kernel.name == "triton-fast"


def test_a_batch_is_its_structures(make_model):
    model = make_model(SMALL, torch.float32)
    rng = np.random.default_rng(2)
    grid = np.array([[0, 0, 0], [1.2, 0, 0], [0, 1.3, 0]])
    singles = [
        single(grid + rng.normal(0, 0.1, (3, 3)), [8, 1, 6]),
        single([[0, 0, 0]], [1]),
        single(grid[:2] + 0.3, [6, 7], np.diag([6.0, 7.0, 8.0]), True),
    ]
    batch = concatenate(singles)
    kernel = TritonKernel(model)
    together = kernel.evaluate(batch, find_neighbors(batch, 5.0), ALL)
    assert [one.n_atoms for one in split(batch)] == [3, 1, 2]
    apart = [kernel.evaluate(one, find_neighbors(one, 5.0), ALL) for one in singles]
    torch.testing.assert_close(together.energy, torch.cat([one.energy for one in apart]), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(together.forces, torch.cat([one.forces for one in apart]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.stress[2], apart[2].stress[0], rtol=1e-5, atol=1e-6)


def test_edges_beyond_the_cutoff_change_nothing_and_every_call_gives_the_same_bits(make_model):
    kernel = TritonKernel(make_model(replace(SMALL, cutoff=2.0), torch.float32))
    batch = single([[0, 0, 0], [1.2, 0, 0], [0, 2.5, 0.1]], [8, 1, 6])
    near, wide = find_neighbors(batch, 2.0), find_neighbors(batch, 4.0)
    assert wide.n_edges > near.n_edges
    first, second = kernel.evaluate(batch, wide, ALL), kernel.evaluate(batch, wide, ALL)
    assert torch.equal(first.forces, second.forces)
    assert torch.equal(first.energy, second.energy)
    torch.testing.assert_close(first.forces, kernel.evaluate(batch, near, ALL).forces, rtol=1e-6, atol=1e-6)


def test_changed_weights_are_used(make_model, make_structure):
    model = make_model(replace(SMALL, n_layers=1))
    batch = make_structure(2)
    edges = find_neighbors(batch, 5.0)
    kernel = TritonKernel(model)
    before = kernel.evaluate(batch, edges, ())
    model.scale.mul_(2.0)
    after = kernel.evaluate(batch, edges, ())
    assert before.forces is None
    assert float(after.energy - before.energy) == pytest.approx(
        float(kernel.evaluate(batch, edges, ("atom_energies",)).atom_energies.sum() - before.energy.sum()), abs=1e-9
    )
    assert float((after.energy - before.energy).abs()) > 1e-6


def test_what_cannot_be_computed_is_refused(make_model, make_structure):
    kernel = TritonKernel(make_model(replace(SMALL, n_layers=1)))
    batch = make_structure(2)
    edges = find_neighbors(batch, 5.0)
    near = batch.with_positions(batch.positions[:1] + torch.tensor([[0.0, 0, 0], [0.1, 0, 0]], dtype=torch.float64))
    with pytest.raises(InputError, match=r"atoms 0 and 1 overlap: they are 0\.100 Å apart"):
        kernel.evaluate(near, edges, ("forces",))
    with pytest.raises(InputError, match="positions must be finite, but atom"):
        kernel.evaluate(batch.with_positions(batch.positions * float("nan")), edges, ("forces",))
    with pytest.raises(UnsupportedError, match="does not know atomic number 79, that of atom 0"):
        kernel.evaluate(replace(batch, atomic_numbers=torch.tensor([79, 1])), edges, ("forces",))
    half = EdgeList(edges.centers[:1], edges.neighbors[:1], edges.cell_shifts[:1])
    with pytest.raises(InputError, match="must occur in both directions"):
        kernel.evaluate(batch, half, ("forces",))


def test_buckets_waste_at_most_an_eighth_or_a_few_atoms():
    assert all(n <= bucket(n) <= max(n + 15, n * 1.25) for n in range(1, 3000))
    assert len({bucket(n) for n in range(1, 100_000)}) < 100


@pytest.mark.slow  # compiles for half a minute
def test_every_kernel_compiles_for_a_gpu_that_is_not_there():
    script = Path(__file__).with_name("compile_without_gpu.py")
    compiling = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, str(script), "--all"], capture_output=True, text=True, env=compiling)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("message_forward", "message_backward", "pack_edges", "collect_forces", "search_bins", "find_reverse"):
        assert name in done.stdout
