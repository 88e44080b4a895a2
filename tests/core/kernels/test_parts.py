"""Parts of a system, computed each by itself, add up to the whole."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlff_core.errors import InputError
from mlff_core.kernels import parts
from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.kernels.parts import cut_out, halves
from mlff_core.model.painn import PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.structures.batch import AtomicBatch, concatenate, single
from mlff_core.structures.neighbors import find_neighbors

ALL = ("energy", "forces", "stress", "atom_energies")
CONFIGS = {
    "three layers": PaiNNConfig(hidden=16, n_radial=6, cutoff=3.0),
    "one layer": PaiNNConfig(hidden=16, n_radial=6, cutoff=3.0, n_layers=1),
    "four layers": PaiNNConfig(hidden=13, n_radial=6, cutoff=2.4, n_layers=4),
}


def stretched(make_structure, n=8):
    """A periodic bar of many cells, long enough that its parts do not see all of it."""
    cell = make_structure("crystal")
    shifts = torch.arange(n, dtype=cell.dtype).repeat_interleave(cell.n_atoms)[:, None] * cell.cell[0, 0]
    bar = cell.cell[0].clone()
    bar[0] *= n
    generator = torch.Generator().manual_seed(4)
    positions = cell.positions.repeat(n, 1) + shifts
    positions = positions + 0.03 * torch.randn(positions.shape, generator=generator, dtype=cell.dtype)
    return single(positions.numpy(), cell.atomic_numbers.repeat(n).numpy(), bar.numpy(), True, dtype=cell.dtype)


def in_parts(model, batch, edges, monkeypatch, fewest):
    monkeypatch.setattr(parts, "FEWEST", fewest)
    return CPUKernel(model, memory_bytes=1).evaluate(batch, edges, ALL)


def assert_equal(found, whole, relative):
    for name in ALL:
        a, b = getattr(found, name), getattr(whole, name)
        assert float((a - b).abs().max()) <= relative * float(b.abs().max()), name


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_parts_of_a_periodic_system_add_up_to_it(name, dtype, relative, make_model, make_structure, monkeypatch):
    model = make_model(CONFIGS[name]).to(dtype)
    batch = stretched(make_structure).to(dtype=dtype)
    edges = find_neighbors(batch, CONFIGS[name].cutoff)
    whole = CPUKernel(model).evaluate(batch, edges, ALL)
    assert_equal(in_parts(model, batch, edges, monkeypatch, fewest=50), whole, relative)


def test_two_domains_with_ghosts_have_the_energy_and_forces_of_the_box(make_model, make_structure):
    """What processes that share a box out between them compute: images as atoms of their own, no cell."""
    config = CONFIGS["three layers"]
    model = make_model(config).double()
    box = stretched(make_structure, 4)
    whole = CPUKernel(model).evaluate(box, find_neighbors(box, config.cutoff), ALL)
    n = box.n_atoms
    shifts = torch.cartesian_prod(*[torch.arange(-1.0, 2.0, dtype=torch.float64)] * 3)
    shifts = shifts[shifts.abs().sum(dim=1).argsort(stable=True)]  # the box itself comes first
    images = (box.positions + (shifts @ box.cell[0])[:, None]).reshape(-1, 3)
    owner = torch.arange(n).repeat(len(shifts))
    everything = single(images.numpy(), box.atomic_numbers[owner].numpy(), dtype=torch.float64)
    edges = find_neighbors(everything, config.cutoff)
    kernel = CPUKernel(model)
    energy, forces, virial = 0.0, torch.zeros_like(box.positions), torch.zeros(3, 3, dtype=torch.float64)
    for domain in halves(box, torch.arange(n)):
        part = cut_out(everything.n_atoms, edges, domain, config.n_layers)
        assert len(domain) < part.n_centers[1] < part.n_centers[0] < len(part.atoms) < everything.n_atoms
        own_energy = torch.empty(1, dtype=torch.float64)
        own_forces = torch.empty((len(part.atoms), 3), dtype=torch.float64)
        own_virial = torch.empty((1, 3, 3), dtype=torch.float64)
        kernel._handle.call(everything, edges, part=part, energy=own_energy, forces=own_forces, virial=own_virial)
        energy += float(own_energy)
        forces.index_add_(0, owner[part.atoms], own_forces)
        virial += own_virial[0]
    assert energy == pytest.approx(float(whole.energy), rel=1e-10)
    torch.testing.assert_close(forces, whole.forces, rtol=1e-9, atol=1e-9)
    volume = float(torch.linalg.det(box.cell[0]).abs())
    torch.testing.assert_close(-virial / volume, whole.stress[0], rtol=1e-8, atol=1e-10)


def test_a_batch_is_cut_between_its_systems(make_model, make_structure, monkeypatch):
    model = make_model(CONFIGS["three layers"]).double()
    batch = concatenate([make_structure("molecule"), stretched(make_structure, 3), make_structure("crystal")])
    batch = AtomicBatch(batch.positions, batch.atomic_numbers, batch.cell, batch.pbc, batch.system_idx)
    edges = find_neighbors(batch, 3.0)
    whole = CPUKernel(model).evaluate(batch, edges, ("energy", "forces", "atom_energies"))
    monkeypatch.setattr(parts, "FEWEST", 20)
    found = CPUKernel(model, memory_bytes=1).evaluate(batch, edges, ("energy", "forces", "atom_energies"))
    torch.testing.assert_close(found.energy, whole.energy)
    torch.testing.assert_close(found.forces, whole.forces)
    torch.testing.assert_close(found.atom_energies, whole.atom_energies)


def test_parts_take_less_memory_than_the_whole(make_model, make_structure):
    kernel = CPUKernel(make_model(CONFIGS["three layers"]))
    batch = stretched(make_structure)
    edges = find_neighbors(batch, 3.0)
    part = cut_out(batch.n_atoms, edges, halves(batch, torch.arange(batch.n_atoms))[0], 3)
    whole = kernel.needed_bytes(batch.n_atoms, edges.n_edges)
    assert kernel.needed_bytes(len(part.atoms), part.edges.n_edges) < 0.9 * whole


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not report the memory of a process")
@pytest.mark.parametrize(
    ("config", "dtype", "n_cells"),
    [
        pytest.param(PRESETS["original"], torch.float32, 80, id="original"),
        pytest.param(PaiNNConfig(hidden=13, n_radial=6), torch.float64, 160, id="width that is padded"),
    ],
)
def test_an_evaluation_takes_the_memory_it_states(config, dtype, n_cells, make_model, make_structure):
    kernel = CPUKernel(make_model(config, dtype))
    batch = stretched(make_structure, n_cells).to(dtype=dtype)
    edges = find_neighbors(batch, config.cutoff)
    stated = kernel.needed_bytes(batch.n_atoms, edges.n_edges)
    assert stated > 2**26  # more than what the allocator may hold unused
    before = resident_bytes()
    kernel.evaluate(batch, edges, ("energy", "forces"))
    assert 0.8 * stated < resident_bytes() - before < 1.2 * stated


def test_overlapping_atoms_are_named_as_in_the_whole(make_model, make_structure, monkeypatch):
    model = make_model(CONFIGS["three layers"]).double()
    batch = stretched(make_structure)
    positions = batch.positions.clone()
    positions[200] = positions[201] + 0.1
    batch = replace(batch, positions=positions)
    edges = find_neighbors(batch, 3.0)
    with pytest.raises(InputError, match=r"20[01].*20[01]"):
        in_parts(model, batch, edges, monkeypatch, fewest=50)
