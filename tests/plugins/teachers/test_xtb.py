"""GFN1- and GFN2-xTB against tblite itself, and input that tblite would change silently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import molecule

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.plugins import host as plugins
from mlff_core.structures.batch import single
from mlff_core.structures.reading import batch_from_atoms

pytest.importorskip("tblite")


@pytest.fixture(scope="module", params=["gfn1-xtb", "gfn2-xtb"])
def xtb(request):
    return plugins.teacher(request.param).load()


def batch_of(name, **info):
    atoms = molecule(name)
    atoms.info.update(info)
    return batch_from_atoms(atoms, dtype=torch.float64)


@pytest.mark.parametrize(("charge", "multiplicity"), [(0, 1), (0, 3), (-2, 1), (1, 2)])
def test_labels_are_tblites_own_with_charge_and_multiplicity(xtb, charge, multiplicity):
    from tblite.interface import Calculator

    atoms = molecule("H2O")
    ours = xtb.predict(batch_of("H2O", charge=charge, spin_multiplicity=multiplicity))
    calculator = Calculator(
        xtb.card.architecture, atoms.numbers, atoms.positions / 0.529177210544, charge=charge, uhf=multiplicity - 1
    )
    calculator.set("verbosity", 0)
    theirs = calculator.singlepoint()
    assert ours.energy.item() == pytest.approx(theirs["energy"] * 27.211386245981, abs=1e-4)
    gradient = theirs["gradient"] * 27.211386245981 / 0.529177210544
    np.testing.assert_allclose(ours.forces.numpy(), -gradient, atol=2e-4)


def test_an_odd_number_of_electrons_is_no_singlet(xtb):
    with pytest.raises(InputError, match="9 electrons"):
        xtb.predict(batch_of("CH3"))
    assert torch.isfinite(xtb.predict(batch_of("CH3", spin_multiplicity=2)).energy).all()


def test_a_fractional_charge_is_refused(xtb):
    with pytest.raises(InputError, match="whole number"):
        xtb.predict(batch_of("H2O", charge=0.5))


def test_a_slab_is_refused_since_tblite_would_repeat_it_in_all_directions(xtb):
    atoms = molecule("H2O", cell=[5.0, 5.0, 12.0], pbc=(True, True, False))
    with pytest.raises(UnsupportedError, match="pbc"):
        xtb.predict(batch_from_atoms(atoms))


def test_francium_is_refused(xtb):
    atoms = molecule("H2")
    atoms.numbers[0] = 87
    with pytest.raises(UnsupportedError, match="Fr"):
        xtb.predict(batch_from_atoms(atoms))


def test_the_dipole_of_an_ion_is_about_its_centre_of_mass():
    teacher = plugins.teacher("gfn2-xtb").load()
    ammonia = molecule("NH3")
    positions = np.vstack([ammonia.positions, ammonia.positions[0] + [0, 0, 1.03]])
    here, there = (
        teacher.predict(single(at, [7, 1, 1, 1, 1], charge=1), want=("charges", "dipole"))
        for at in (positions, positions + 7.0)
    )
    assert float(here.charges.sum()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(here.dipole, there.dipole, rtol=0, atol=1e-4)
    water = molecule("H2O")
    dipole = teacher.predict(single(water.positions, water.numbers), want=("dipole",)).dipole[0]
    # From the oxygen to the hydrogens, which lie below it.
    assert float(dipole[2]) / 0.2081943 == pytest.approx(-2.29, abs=0.05)
