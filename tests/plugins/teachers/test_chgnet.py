"""CHGNet against its package's own calculator, and its weights' file."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111, molecule

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.plugins import host as plugins
from mlff_core.structures.reading import batch_from_atoms

pytest.importorskip("chgnet")


@pytest.fixture(scope="module")
def chgnet():
    return plugins.teacher("chgnet").load({"device": "cpu"})


@pytest.fixture(scope="module")
def packages_own():
    from chgnet.model.dynamics import CHGNetCalculator

    with contextlib.redirect_stdout(io.StringIO()):
        return CHGNetCalculator(use_device="cpu")


def crystal():
    atoms = bulk("Cu", "fcc", 3.61, cubic=True)
    atoms.symbols[1] = "Au"
    atoms.set_cell([[3.71, 0.05, 0.0], [0.0, 3.51, 0.07], [0.03, 0.0, 3.81]], scale_atoms=True)
    atoms.rattle(0.1, seed=3)
    return atoms


def check_the_same(ours, atoms, calculator):
    atoms.calc = calculator
    assert ours.energy.item() == pytest.approx(atoms.get_potential_energy(), abs=3e-5)
    np.testing.assert_allclose(ours.forces.numpy(), atoms.get_forces(), atol=3e-5)
    np.testing.assert_allclose(ours.stress[0].numpy(), atoms.get_stress(voigt=False), atol=3e-6)


def test_labels_are_those_of_the_packages_own_calculator(chgnet, packages_own):
    atoms = crystal()
    ours = chgnet.predict(batch_from_atoms(atoms), want=("energy", "forces", "stress"))
    check_the_same(ours, atoms, packages_own)


def test_a_left_handed_cell_has_the_same_stress_though_the_package_turns_its_sign(chgnet):
    atoms = crystal()
    mirrored = atoms[[0, 1, 2, 3]]
    mirrored.set_cell(atoms.cell.array[[1, 0, 2]])
    right, left = (chgnet.predict(batch_from_atoms(a), want=("energy", "stress")).stress for a in (atoms, mirrored))
    assert float(right.abs().max()) > 0.01
    torch.testing.assert_close(left, right, rtol=0, atol=3e-6)


def test_a_slab_without_a_third_vector_is_that_in_vacuum(chgnet, packages_own):
    atoms = fcc111("Al", (1, 1, 4), a=4.05, vacuum=8.0)
    atoms.rattle(0.1, seed=3)
    ours = chgnet.predict(batch_from_atoms(atoms), want=("energy", "forces", "stress"))
    atoms.pbc = True
    check_the_same(ours, atoms, packages_own)


def test_a_compressed_crystal_has_a_negative_stress_and_a_stretched_one_a_positive(chgnet):
    for factor, sign in ((0.97, -1), (1.03, 1)):
        batch = batch_from_atoms(bulk("Cu", "fcc", 3.61 * factor, cubic=True))
        stress = chgnet.predict(batch, want=("energy", "stress")).stress[0]
        assert (sign * torch.diagonal(stress) > 0.02).all()


def test_forces_are_the_gradient_of_the_energy_on_a_short_stencil(chgnet):
    atoms = bulk("Cu", "fcc", 3.61, cubic=True)
    atoms.rattle(0.1, seed=1)
    batch = batch_from_atoms(atoms)
    direction = torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(0))
    step = 0.005
    far_below, below, above, far_above = (
        float(chgnet.predict(batch.with_positions(batch.positions + k * step * direction)).energy)
        for k in (-2, -1, 1, 2)
    )
    slope = (far_below - 8 * below + 8 * above - far_above) / (12 * step)
    assert -slope == pytest.approx(float((chgnet.predict(batch).forces * direction).sum()), abs=1e-3)


def test_an_atom_without_neighbours_is_refused(chgnet):
    atoms = molecule("H2O")
    atoms.positions[2] += 20.0
    with pytest.raises(UnsupportedError, match="atom 2 has no neighbour"):
        chgnet.predict(batch_from_atoms(atoms))


def test_americium_and_charges_are_refused(chgnet):
    atoms = crystal()
    atoms.info["charge"] = 1
    with pytest.raises(UnsupportedError, match="neutral"):
        chgnet.predict(batch_from_atoms(atoms))
    atoms = crystal()
    atoms.symbols[0] = "Am"
    with pytest.raises(UnsupportedError, match="Am"):
        chgnet.predict(batch_from_atoms(atoms))


def test_a_changed_file_is_refused_before_it_is_unpickled(monkeypatch, tmp_path):
    from mlff_plugins.teachers import chgnet_potential

    changed = tmp_path / "checkpoint.pth"
    changed.write_bytes(chgnet_potential.packaged_weights().read_bytes() + b" ")
    monkeypatch.setattr(chgnet_potential, "packaged_weights", lambda: changed)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was unpickled"))
    with pytest.raises(InputError, match="pip install --force-reinstall --no-deps chgnet"):
        plugins.teacher("chgnet").load({"device": "cpu"})
