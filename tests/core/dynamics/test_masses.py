"""Heavier hydrogens."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read

from mlff_core.dynamics import MDSettings, run_md
from mlff_core.dynamics.masses import with_heavy_hydrogens
from mlff_core.errors import InputError
from mlff_core.testing import PairPotential


def test_mass_moves_from_each_heavy_atom_to_its_own_hydrogens():
    ethanol = molecule("CH3CH2OH")
    before, masses = ethanol.get_masses(), with_heavy_hydrogens(ethanol, 3.0)
    assert masses.sum() == pytest.approx(before.sum(), abs=1e-12)
    assert (masses[ethanol.numbers == 1] == 3.0).all()
    taken = {symbol: [] for symbol in "CO"}
    for symbol, lost in zip(ethanol.get_chemical_symbols(), before - masses, strict=True):
        if symbol != "H":
            taken[symbol].append(round(lost / (3.0 - 1.008), 6))
    assert sorted(taken["C"]) == [2.0, 3.0]
    assert taken["O"] == [1.0]


def test_bonds_are_found_through_the_faces_of_a_cell():
    water = molecule("H2O")
    water.set_cell([6.0] * 3)
    water.pbc = True
    water.positions -= water.positions[0]
    water.wrap()
    assert water.get_distance(0, 1) > 3.0
    masses = with_heavy_hydrogens(water, 3.0)
    assert masses[0] == pytest.approx(15.999 - 2 * (3.0 - 1.008))


def test_nothing_is_done_twice_and_nothing_without_hydrogen():
    ethanol = molecule("CH3CH2OH")
    ethanol.set_masses(with_heavy_hydrogens(ethanol, 3.0))
    np.testing.assert_array_equal(with_heavy_hydrogens(ethanol, 3.0), ethanol.get_masses())
    assert with_heavy_hydrogens(Atoms("Ar"), 3.0).tolist() == Atoms("Ar").get_masses().tolist()


def test_hydrogen_without_a_heavy_atom_and_too_heavy_hydrogen_are_refused():
    with pytest.raises(InputError, match="hydrogen atom 0 is bonded to no heavier atom"):
        with_heavy_hydrogens(molecule("H2"), 3.0)
    with pytest.raises(InputError, match=r"atom 0 \(C\) would be"):
        with_heavy_hydrogens(molecule("CH4"), 4.0)


def test_a_run_has_the_masses_in_its_frames_and_its_kinetic_energy(tmp_path):
    water = molecule("H2O")
    settings = MDSettings("nve", 4, temperature_kelvin=300.0, hydrogen_mass=3.0, log_every=4, frame_every=4)
    run_md(PairPotential(), water, settings, tmp_path)
    frame = read(tmp_path / "trajectory.extxyz", "-1")
    assert frame.get_masses()[1:] == pytest.approx([3.0, 3.0])
    last = (tmp_path / "log.csv").read_text().splitlines()[-1].split(",")
    assert frame.get_kinetic_energy() == pytest.approx(float(last[3]), rel=1e-5)
