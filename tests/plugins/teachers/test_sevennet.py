"""SevenNet-0 against its package's own calculator, and its weights' file."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.plugins import host as plugins
from mlff_core.structures.reading import batch_from_atoms

pytest.importorskip("sevenn")


@pytest.fixture(scope="module")
def sevennet():
    return plugins.teacher("sevennet").load({"device": "cpu"})


@pytest.fixture(scope="module")
def packages_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator("7net-0", device="cpu")


def crystal():
    atoms = bulk("Cu", "fcc", 3.61, cubic=True)
    atoms.symbols[1] = "Au"
    atoms.set_cell([[3.71, 0.05, 0.0], [0.0, 3.51, 0.07], [0.03, 0.0, 3.81]], scale_atoms=True)
    atoms.rattle(0.1, seed=3)
    return atoms


def slab():
    atoms = fcc111("Al", (1, 1, 4), a=4.05, vacuum=8.0)
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.mark.parametrize("structure", [crystal, slab])
def test_labels_are_those_of_the_packages_own_calculator(sevennet, packages_own, structure):
    atoms = structure()
    ours = sevennet.predict(batch_from_atoms(atoms), want=("energy", "forces", "stress", "atom_energies"))
    atoms.calc = packages_own
    assert ours.energy.item() == pytest.approx(atoms.get_potential_energy(), abs=2e-5)
    np.testing.assert_allclose(ours.forces.numpy(), atoms.get_forces(), atol=2e-5)
    np.testing.assert_allclose(ours.stress[0].numpy(), atoms.get_stress(voigt=False), atol=2e-6)
    np.testing.assert_allclose(ours.atom_energies.numpy(), atoms.get_potential_energies(), atol=1e-5)


def test_a_compressed_crystal_has_a_negative_stress_and_a_stretched_one_a_positive(sevennet):
    for factor, sign in ((0.97, -1), (1.03, 1)):
        batch = batch_from_atoms(bulk("Cu", "fcc", 3.61 * factor, cubic=True))
        stress = sevennet.predict(batch, want=("energy", "stress")).stress[0]
        assert (sign * torch.diagonal(stress) > 0.02).all()


@pytest.mark.parametrize("symbol", ["Po", "Ra", "Am"])
def test_elements_outside_the_network_are_refused(sevennet, symbol):
    atoms = crystal()
    atoms.symbols[0] = symbol
    with pytest.raises(UnsupportedError, match=symbol):
        sevennet.predict(batch_from_atoms(atoms))


def test_the_listing_and_the_network_know_the_same_elements(sevennet):
    assert sevennet.card.elements == plugins.teacher("sevennet").elements


def test_a_charge_is_refused(sevennet):
    atoms = crystal()
    atoms.info["charge"] = 1
    with pytest.raises(UnsupportedError, match="neutral"):
        sevennet.predict(batch_from_atoms(atoms))


def test_a_changed_file_is_refused_before_it_is_unpickled(monkeypatch, tmp_path):
    from mlff_plugins.teachers import sevennet_potential

    changed = tmp_path / "checkpoint.pth"
    changed.write_bytes(sevennet_potential.packaged_weights().read_bytes() + b" ")
    monkeypatch.setattr(sevennet_potential, "packaged_weights", lambda: changed)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was unpickled"))
    with pytest.raises(InputError, match="pip install --force-reinstall --no-deps sevenn"):
        plugins.teacher("sevennet").load({"device": "cpu"})
