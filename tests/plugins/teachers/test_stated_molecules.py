"""The composite teacher takes the molecules and charges that a structure states, where its bonds leave them open."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core.data.sampling.conformers import conformers
from mlff_core.data.sampling.dimer import beside
from mlff_core.data.structure import LabelledStructure, batch_from_structures
from mlff_core.errors import InputError
from mlff_core.plugins import host

pytest.importorskip("so3krates_torch")
pytest.importorskip("tblite")
pytest.importorskip("rdkit")


@pytest.fixture(scope="module")
def composite():
    return host.teacher("fragments").load()


@pytest.fixture(scope="module")
def so3lr():
    return host.teacher("so3lr").load()


def stated(structure, **changes):
    return batch_from_structures([replace(structure, **changes)], dtype=torch.float64)


@pytest.fixture(scope="module")
def amide_in_water():
    """Bare amide beside water: no charge of it is found from its bonds alone."""
    amide = LabelledStructure(
        np.array([7, 1, 1], dtype=np.uint8), [[0.0, 0.0, 0.0], [0.8, 0.64, 0.0], [-0.8, 0.64, 0.0]], charge=-1
    )
    amide = replace(amide, positions=np.array(amide.positions, dtype=np.float32))
    return beside(amide, conformers("O", 1, 0)[0], 3.0, np.random.default_rng(0))


def test_stated_molecules_are_taken_where_bonds_leave_the_charge_open(composite, so3lr, amide_in_water):
    parts = [
        LabelledStructure(amide_in_water.atomic_numbers[own], amide_in_water.positions[own], charge=charge)
        for own, charge in ((slice(0, 3), -1), (slice(3, 6), 0))
    ]
    found = composite.predict(stated(amide_in_water), want=("energy", "forces", "charges"))
    alone = [so3lr.predict(stated(part), want=("charges",)).charges for part in parts]
    assert (found.charges - torch.cat(alone)).abs().max() < 1e-4
    positions = amide_in_water.positions
    energies = [
        composite.predict(stated(amide_in_water, positions=positions + shift)).energy.item()
        for shift in ([[0, 0, 0]] * 3 + [[1e-3, 0, 0]] * 3, [[0, 0, 0]] * 3 + [[-1e-3, 0, 0]] * 3)
    ]
    slope = (energies[1] - energies[0]) / 2e-3
    assert float(found.forces[3:, 0].sum()) == pytest.approx(slope, abs=2e-3)


def test_a_bond_shorter_than_its_limit_does_not_join_stated_molecules(composite):
    """A proton close to its acceptor: by the bonds the two would be one molecule."""
    water = conformers("O", 1, 0)[0]
    pair = beside(water, water, 1.15, np.random.default_rng(3))
    far = beside(water, water, 40.0, np.random.default_rng(3))
    near, apart = (composite.predict(stated(one)).energy.item() for one in (pair, far))
    assert 0.05 < near - apart < 20.0  # repelled by GFN2, and no new molecule


def test_stated_charges_with_an_odd_number_of_electrons_are_refused(composite, amide_in_water):
    charges = np.array([0, 0, 0, -1, -1, -1], dtype=np.int8)
    with pytest.raises(InputError, match=r"H2N is stated to have a charge of \+0 e, which leaves an odd number"):
        composite.predict(stated(amide_in_water, fragment_charge=charges))
