"""The CPU kernel agrees with the reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.kernels.cpu_kernel import CPUKernel, variants
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.painn import PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.plugins.engine import Engine
from mlff_core.structures.batch import concatenate, split
from mlff_core.structures.neighbors import EdgeList, find_neighbors

ALL = ("energy", "forces", "stress", "atom_energies")
SMALL = PaiNNConfig(hidden=16, n_radial=6)


def assert_same(given, truth, relative, energy_scale=1.0):
    scale = max(1.0, float(truth.forces.abs().max()))
    assert float((given.forces - truth.forces).abs().max()) <= relative * scale
    energies = max(1.0, float((truth.atom_energies).abs().max())) * energy_scale
    assert float((given.atom_energies - truth.atom_energies).abs().max()) <= relative * energies
    torch.testing.assert_close(given.energy, truth.energy, rtol=relative, atol=relative)
    if bool(truth.stress.isfinite().all()):
        strain = max(1.0, float(truth.stress.abs().max()))
        assert float((given.stress - truth.stress).abs().max()) <= relative * strain


def test_every_shape_of_network_is_the_reference(network, make_model, make_structure, truth):
    model = make_model(network)
    batch = make_structure("crystal")
    expected, edges = truth(model, batch)
    assert_same(CPUKernel(model).evaluate(batch, edges, ALL), expected, 1e-5)


def test_every_structure_is_the_reference(structure, make_model, truth):
    model = make_model(PRESETS["tiny"])
    expected, edges = truth(model, structure)
    assert_same(CPUKernel(model).evaluate(structure, edges, ALL), expected, 1e-5)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("preset", PRESETS)
def test_float32_is_the_reference_in_float64(preset, variant, make_model, make_structure, truth):
    model = make_model(PRESETS[preset], torch.float32)
    kernel = CPUKernel(model, variant)
    assert kernel.variant == variant
    for what in ("molecule", "crystal"):
        # Positions that float32 holds exactly: the comparison is of kernels, not of roundings of the input.
        batch = make_structure(what).to(dtype=torch.float32)
        expected, edges = truth(model, batch.to(dtype=torch.float64))
        given = kernel.evaluate(batch, edges, ALL)
        assert given.forces.dtype == torch.float32
        assert given.energy.dtype == torch.float64
        assert_same(given, expected, 1e-5)


@pytest.mark.parametrize("variant", variants())
def test_every_variant_has_both_precisions(variant, make_model, make_structure, truth):
    model = make_model(PRESETS["ultra-tiny"])
    batch = make_structure("batch")
    expected, edges = truth(model, batch)
    assert_same(CPUKernel(model, variant).evaluate(batch, edges, ALL), expected, 1e-5)


@pytest.mark.parametrize("what", ["cell smaller than the cutoff", "atoms at the edge of each other's cores"])
@pytest.mark.parametrize("variant", variants())
def test_forces_are_the_negative_gradient_of_the_energy(variant, what, make_model, make_structure):
    kernel = CPUKernel(make_model(PRESETS["tiny"]), variant)
    batch = make_structure(what)
    edges = find_neighbors(batch, 5.0)
    forces = kernel.evaluate(batch, edges, ("forces",)).forces.reshape(-1)
    step = 1e-5
    for k in range(3 * batch.n_atoms):
        shift = torch.zeros(3 * batch.n_atoms, dtype=torch.float64)
        shift[k] = step
        shift = shift.reshape(-1, 3)
        up = kernel.evaluate(batch.with_positions(batch.positions + shift), edges, ()).energy
        down = kernel.evaluate(batch.with_positions(batch.positions - shift), edges, ()).energy
        assert float(-(up - down) / (2 * step)) == pytest.approx(float(forces[k]), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("variant", variants())
def test_a_table_finer_than_a_narrow_models_arrays_is_served(variant, make_model, make_structure, truth):
    model = make_model(replace(SMALL, hidden=2))
    batch = make_structure("batch")
    expected, edges = truth(model, batch)
    assert_same(CPUKernel(model, variant, n_intervals=60_000).evaluate(batch, edges, ALL), expected, 1e-9)


@pytest.mark.parametrize("preset", PRESETS)
def test_float64_is_the_reference_within_what_an_engine_may_add(preset, structure, make_model, truth):
    model = make_model(PRESETS[preset])
    expected, edges = truth(model, structure)
    assert_same(CPUKernel(model).evaluate(structure, edges, ALL), expected, Engine.tolerance_float64.forces)


def test_stress_is_the_derivative_of_the_energy_under_strain(make_model, make_structure):
    kernel = CPUKernel(make_model(PRESETS["tiny"]))
    batch = make_structure("cell smaller than the cutoff")
    edges = find_neighbors(batch, 5.0)
    stress = kernel.evaluate(batch, edges, ("stress",)).stress[0]
    volume, step = torch.linalg.det(batch.cell[0]).abs(), 1e-6

    def strained(row, column, amount):
        strain = torch.eye(3, dtype=torch.float64)
        strain[row, column] += amount
        return kernel.evaluate(
            replace(batch, positions=batch.positions @ strain, cell=batch.cell @ strain), edges, ()
        ).energy

    for row in range(3):
        for column in range(3):
            derivative = (strained(row, column, step) - strained(row, column, -step)) / (2 * step) / volume
            assert float(derivative) == pytest.approx(float(stress[row, column]), rel=1e-5, abs=1e-6)


def test_forces_sum_to_zero(make_model, structure):
    edges = find_neighbors(structure, 5.0)
    forces = CPUKernel(make_model(PRESETS["ultra-tiny"])).evaluate(structure, edges, ("forces",)).forces
    assert float(forces.sum(dim=0).abs().max()) < 1e-10 * max(1.0, float(forces.abs().max()))


def test_batch_equals_singles(make_model, make_structure):
    kernel = CPUKernel(make_model(PRESETS["tiny"], torch.float32))
    batch = make_structure("batch").to(dtype=torch.float32)
    together = kernel.evaluate(batch, find_neighbors(batch, 5.0), ALL)
    apart = [kernel.evaluate(one, find_neighbors(one, 5.0), ALL) for one in split(batch)]
    # Each atom is computed alone, so that its company changes nothing, not even the last bit.
    assert torch.equal(together.forces, torch.cat([one.forces for one in apart]))
    assert torch.equal(together.atom_energies, torch.cat([one.atom_energies for one in apart]))
    assert torch.equal(together.energy, torch.cat([one.energy for one in apart]))


def test_isolated_atoms_have_energy_and_no_force(make_model, make_structure):
    given = CPUKernel(make_model(SMALL)).evaluate(
        batch := make_structure("two atoms that do not see each other"), find_neighbors(batch, 5.0), ALL
    )
    assert torch.equal(given.forces, torch.zeros(2, 3, dtype=torch.float64))
    assert bool((given.atom_energies < -9).all())


def test_edges_beyond_the_cutoff_change_nothing(make_model, make_structure):
    kernel = CPUKernel(make_model(PRESETS["ultra-tiny"]))
    batch = make_structure("crystal")
    exact = kernel.evaluate(batch, find_neighbors(batch, 5.0), ALL)
    more = kernel.evaluate(batch, find_neighbors(batch, 6.5), ALL)
    torch.testing.assert_close(more.forces, exact.forces, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(more.energy, exact.energy, rtol=1e-12, atol=1e-12)


def test_edges_in_any_order_are_served(make_model, make_structure):
    kernel = CPUKernel(make_model(PRESETS["ultra-tiny"]))
    batch = make_structure("crystal")
    edges = find_neighbors(batch, 5.0)
    order = torch.randperm(edges.n_edges, generator=torch.Generator().manual_seed(0))
    shuffled = EdgeList(edges.centers[order], edges.neighbors[order], edges.cell_shifts[order])
    sorted_, given = kernel.evaluate(batch, edges, ALL), kernel.evaluate(batch, shuffled, ALL)
    torch.testing.assert_close(given.forces, sorted_.forces, rtol=1e-10, atol=1e-10)


def test_what_is_not_wanted_does_not_come(make_model, make_structure):
    batch = make_structure("crystal")
    kernel, edges = CPUKernel(make_model(SMALL)), find_neighbors(batch, 5.0)
    alone = kernel.evaluate(batch, edges, ("energy",))
    assert alone.forces is None
    assert alone.stress is None
    assert alone.atom_energies is None
    assert torch.equal(alone.energy, kernel.evaluate(batch, edges, ALL).energy)


def test_strided_and_differentiable_input_is_served_and_left_alone(make_model, make_structure):
    batch = make_structure("molecule")
    kernel, edges = CPUKernel(make_model(SMALL)), find_neighbors(batch, 5.0)
    expected = kernel.evaluate(batch, edges, ("forces",)).forces
    turned = batch.positions.T.contiguous().T.requires_grad_()
    before = turned.detach().clone()
    given = kernel.evaluate(batch.with_positions(turned), edges, ("forces",)).forces
    assert torch.equal(given, expected)
    assert torch.equal(turned, before)
    assert not given.requires_grad


def test_changed_weights_are_seen(make_model, make_structure):
    model = make_model(SMALL)
    batch = make_structure("molecule")
    kernel, edges = CPUKernel(model), find_neighbors(batch, 5.0)
    before = kernel.evaluate(batch, edges, ALL)
    model.readout[2].weight.mul_(2.0)
    after = kernel.evaluate(batch, edges, ALL)
    assert not torch.equal(before.forces, after.forces)
    assert_same(after, ReferenceKernel(model).evaluate(batch, edges, ALL), 1e-5)


def test_bad_input_is_refused_with_clear_messages(make_model, make_structure):
    batch = make_structure("molecule")
    kernel, edges = CPUKernel(make_model(SMALL)), find_neighbors(batch, 5.0)
    close = batch.positions.clone()
    close[1] = close[0] + 0.1
    with pytest.raises(InputError, match=r"atoms 0 and 1 overlap: they are 0\.173 Å apart"):
        kernel.evaluate(batch.with_positions(close), edges_of := find_neighbors(batch.with_positions(close), 5.0), ALL)
    assert edges_of.n_edges > 0
    lost = batch.positions.clone()
    lost[3, 1] = float("nan")
    with pytest.raises(InputError, match="atom 3"):
        kernel.evaluate(batch.with_positions(lost), edges, ALL)
    foreign = batch.atomic_numbers.clone()
    foreign[2] = 79
    with pytest.raises(UnsupportedError, match="79"):
        kernel.evaluate(replace(batch, atomic_numbers=foreign), edges, ALL)
    with pytest.raises(InputError, match="indices"):
        kernel.evaluate(batch, replace(edges, neighbors=edges.neighbors + batch.n_atoms), ALL)
    assert kernel.evaluate(batch, edges, ALL).forces is not None


def test_many_systems_of_changing_size_follow_each_other(make_model, make_structure, truth):
    model = make_model(PRESETS["ultra-tiny"])
    kernel = CPUKernel(model)
    for sizes in ((3,), (90, 4), (1, 1, 1), (47, 2)):
        batch = concatenate([make_structure(n, seed=n) for n in sizes])
        expected, edges = truth(model, batch)
        assert_same(kernel.evaluate(batch, edges, ALL), expected, 1e-5)
