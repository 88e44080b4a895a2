"""Charge and multiplicity by every name, and what contradicts itself."""

import numpy as np
import pytest
from ase.build import molecule

from mlff_core import InputError, batch_from_atoms
from mlff_core.structures.electrons import electronic_state, odd_system


@pytest.mark.parametrize(
    ("info", "wanted"),
    [
        ({}, (None, None)),
        ({"charge": -1}, (-1, None)),
        ({"total_charge": np.int64(2)}, (2, None)),
        ({"net_charge": np.array([1.0])}, (1, None)),
        ({"charge": 1, "total_charge": 1.0, "net_charge": "1"}, (1, None)),
        ({"spin_multiplicity": 3}, (None, 3)),
        ({"multiplicity": 2, "charge": 1}, (1, 2)),
        ({"spin": 0}, (None, 1)),
        ({"total_spin": 0.0, "multiplicity": 1}, (None, 1)),
        ({"charge": None, "spin": None}, (None, None)),
    ],
)
def test_every_name_of_charge_and_multiplicity_is_understood(info, wanted):
    atoms = molecule("H2O")
    atoms.info.update(info)
    assert electronic_state(atoms) == wanted
    batch = batch_from_atoms(atoms)
    found = [None if x is None else x.item() for x in (batch.charge, batch.spin_multiplicity)]
    assert found == list(wanted)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 1.5}, "charge must be a whole number, got 1.5"),
        ({"total_charge": np.nan}, "total_charge must be a whole number, got nan"),
        ({"net_charge": True}, "net_charge must be a whole number, got True"),
        ({"charge": [1, 2]}, r"atoms.info\['charge'\] must be a number, got \[1, 2\]"),
        ({"charge": 0, "net_charge": -1}, "charge = 0 and net_charge = -1, which mean the same"),
        ({"spin_multiplicity": 1.9}, "spin_multiplicity must be a whole number, got 1.9"),
        ({"multiplicity": 0}, "2S . 1, so at least 1, got 0"),
        ({"spin": 1}, "may mean S, 2S or 2S"),
        ({"total_spin": 0.5}, "total_spin must be a whole number, got 0.5"),
        ({"spin": 0, "multiplicity": 3}, "means a singlet, but a spin multiplicity of 3"),
    ],
)
def test_what_is_ambiguous_or_contradicts_itself_is_refused(info, message):
    atoms = molecule("H2O")
    atoms.info.update(info)
    with pytest.raises(InputError, match=message):
        batch_from_atoms(atoms)


def test_initial_charges_of_the_atoms_add_up_to_the_total_charge():
    atoms = molecule("H2O")
    atoms.set_initial_charges([-0.82, 0.41, 0.41])
    assert electronic_state(atoms).charge == 0
    atoms.set_initial_charges([-1, 0, 0])
    assert electronic_state(atoms).charge == -1
    atoms.info["charge"] = 0
    assert electronic_state(atoms).charge == 0
    del atoms.info["charge"]
    atoms.set_initial_charges([-0.4, 0, 0])
    with pytest.raises(InputError, match=r"add up to -0\.4 e, which is not a whole number"):
        electronic_state(atoms)


@pytest.mark.parametrize(
    ("names", "charges", "wanted"),
    [
        (["H2O"], [0], None),
        (["CH3"], [0], (0, 9, 0)),
        (["CH3"], [1], None),
        (["H2O"], [1], (0, 9, 1)),
        (["H2O", "CH4", "OH"], [0, 0, 0], (2, 9, 0)),
        (["H2O", "OH"], [1, -1], (0, 9, 1)),
    ],
)
def test_electrons_are_counted(names, charges, wanted):
    frames = [molecule(name) for name in names]
    for frame, charge in zip(frames, charges, strict=True):
        frame.info["charge"] = charge
    assert odd_system(batch_from_atoms(frames)) == wanted
