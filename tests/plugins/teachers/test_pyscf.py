"""PySCF against numbers of its own, ions, radicals, heavy elements, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import molecule

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.plugins import host as plugins
from mlff_core.structures.batch import single
from mlff_core.structures.reading import batch_from_atoms

pytest.importorskip("pyscf")


def teacher(**options):
    return plugins.teacher("pyscf").load(options)


def batch_of(name, **info):
    atoms = molecule(name)
    atoms.info.update(info)
    return batch_from_atoms(atoms, dtype=torch.float64)


def test_labels_are_those_of_a_plain_run():
    from pyscf import dft, gto

    atoms = molecule("H2O")
    ours = teacher(basis="6-31g").predict(batch_from_atoms(atoms, dtype=torch.float64))
    coordinates = (atoms.positions / 0.529177210544).tolist()
    field = dft.RKS(gto.M(atom=list(zip("OHH", coordinates, strict=True)), unit="Bohr", basis="6-31g", verbose=0))
    field.xc = "pbe0"
    assert ours.energy.item() == pytest.approx(field.kernel() * 27.211386245981, abs=1e-5)
    # The plain gradient neglects the motion of the grid.
    plain = -field.nuc_grad_method().kernel() * 27.211386245981 / 0.529177210544
    np.testing.assert_allclose(ours.forces.numpy(), plain, atol=3e-3)
    np.testing.assert_allclose(ours.forces.sum(dim=0).numpy(), 0.0, atol=1e-8)


def test_the_dipole_of_water_is_near_experiment_and_that_of_an_ion_is_about_its_centre_of_mass():
    water = molecule("H2O")
    found = teacher().predict(single(water.positions, water.numbers), want=("dipole", "charges"))
    assert float(found.dipole[0, 2]) / 0.2081943 == pytest.approx(-1.85, abs=0.25)
    assert float(found.charges.sum()) == pytest.approx(0.0, abs=1e-8)
    assert float(found.charges[0]) < -0.3
    cheap = teacher(basis="sto-3g")
    here, there = (
        cheap.predict(single(water.positions[:2] + shift, [8, 1], charge=-1), want=("charges", "dipole"))
        for shift in (0.0, 5.0)
    )
    assert float(here.charges.sum()) == pytest.approx(-1.0, abs=1e-8)
    torch.testing.assert_close(here.dipole, there.dipole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("functional", "deviation"), [("pbe0", 1e-5), ("hf", 1e-5), ("r2scan", 5e-3)])
def test_a_radical_needs_its_multiplicity_and_then_has_gradient_forces(functional, deviation):
    cheap = teacher(basis="sto-3g", functional=functional)
    with pytest.raises(InputError, match="9 electrons"):
        cheap.predict(batch_of("CH3"))
    batch = batch_of("CH3", spin_multiplicity=2)
    noise = torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    batch = batch.with_positions(batch.positions + 0.05 * noise)
    forces = cheap.predict(batch).forces
    step = torch.zeros_like(batch.positions)
    step[1, 2] = 1e-3
    above, below = (float(cheap.predict(batch.with_positions(batch.positions + s * step)).energy) for s in (1, -1))
    assert float(forces[1, 2]) == pytest.approx(-(above - below) / 2e-3, abs=deviation)
    assert any("grid" in limit for limit in cheap.card.limits) == (functional == "r2scan")


def test_the_core_of_iodine_is_that_of_the_basis_set():
    found = teacher().predict(single([[0, 0, 0], [0, 0, 1.62]], [53, 1]))
    # 28 electrons less: all electrons of iodine would have −188,000 eV.
    assert -9000 < found.energy.item() < -7000
    assert float(found.forces.abs().max()) < 1.0


def test_a_field_that_does_not_converge_is_refused(monkeypatch):
    from pyscf.scf import hf

    monkeypatch.setattr(hf.SCF, "max_cycle", 1)
    with pytest.raises(UnsupportedError, match="did not converge in 1 cycles"):
        teacher(basis="sto-3g").predict(batch_of("H2O"))


def test_what_it_cannot_compute_is_refused():
    with pytest.raises(InputError, match="no functional 'pbe00'"):
        teacher(functional="pbe00")
    with pytest.raises(InputError, match="no basis set 'def2-sv'"):
        teacher(basis="def2-sv")
    cheap = teacher(basis="sto-3g")
    with pytest.raises(UnsupportedError, match="molecules"):
        cheap.predict(batch_from_atoms(molecule("H2O", cell=[5.0] * 3, pbc=True)))
    with pytest.raises(UnsupportedError, match="Fr"):
        cheap.predict(single([[0, 0, 0], [0, 0, 2.0]], [87, 1]))
    with pytest.raises(InputError, match="whole number"):
        cheap.predict(batch_of("H2O", charge=0.5))
