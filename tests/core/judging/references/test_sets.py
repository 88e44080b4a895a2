"""Reference sets: what a file must hold, and what is read from it."""

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from mlff_core.errors import InputError
from mlff_core.judging.references.sets import CONFORMERS, read_set
from mlff_core.structures.reading import batch_from_atoms


def dimer(distance, **info):
    both = molecule("H2O") + molecule("NH3")
    both.positions[3:] += [distance, 0, 0]
    both.set_array("fragment", np.array([0, 0, 0, 1, 1, 1, 1]))
    both.info = {"name": "water-ammonia", "reference_interaction_kcal_mol": -6.4, **info}
    return both


def test_a_complex_has_its_molecules_with_their_charges(tmp_path):
    write(tmp_path / "pairs.extxyz", [dimer(3.0, scaling=1.0, charge_a=0, charge_b=1, group="OH-N")])
    (one,) = read_set(tmp_path / "pairs.extxyz").complexes
    assert [part.get_chemical_formula() for part in one.parts] == ["H2O", "H3N"]
    assert [part.info["charge"] for part in one.parts] == [0.0, 1.0]
    assert one.whole.info["charge"] == 1.0
    batch = batch_from_atoms(one.whole)
    assert batch.fragment.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert batch.fragment_charge.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert (one.group, one.scaling, one.charges, one.reference_kcal_mol) == ("OH-N", 1.0, "cation", -6.4)


@pytest.mark.parametrize(
    ("charges", "kind"), [((0, 0), "neutral"), ((0, -1), "anion"), ((1, -1), "ion pair"), ((2, 0), "cation")]
)
def test_complexes_are_sorted_by_charge(tmp_path, charges, kind):
    write(tmp_path / "pairs.extxyz", [dimer(3.0, charge_a=charges[0], charge_b=charges[1])])
    assert read_set(tmp_path / "pairs.extxyz").complexes[0].charges == kind


def test_conformers_of_a_molecule_are_taken_together(tmp_path):
    frames = []
    for name, energy in (("a", 1.0), ("b", 5.0), ("a", 2.5)):
        frame = molecule("H2O")
        frame.info = {"molecule": name, "reference_energy_kcal_mol": energy}
        frames.append(frame)
    write(tmp_path / "set.extxyz", frames)
    found = {one.molecule: one.reference_kcal_mol for one in read_set(tmp_path / "set.extxyz").conformers}
    assert found == {"a": (1.0, 2.5), "b": (5.0,)}


def test_a_file_without_reference_energies_is_refused(tmp_path):
    write(tmp_path / "plain.extxyz", [molecule("H2O")])
    with pytest.raises(InputError, match="no reference energies: each frame needs"):
        read_set(tmp_path / "plain.extxyz")


def test_three_fragments_are_refused(tmp_path):
    bad = dimer(3.0)
    bad.arrays["fragment"][-1] = 2
    write(tmp_path / "pairs.extxyz", [bad])
    with pytest.raises(InputError, match=r"frame 0: .*3 values, two are needed"):
        read_set(tmp_path / "pairs.extxyz")


def test_the_shipped_conformers_are_energies_not_atomization_energies():
    found = read_set("conformers").conformers
    assert sum(len(one.frames) for one in found) == 4178
    # The published file holds atomization energies, which are higher for stabler conformers.
    assert all(energy < 0 for one in found for energy in one.reference_kcal_mol)


def test_every_molecule_of_the_shipped_set_has_a_closed_shell_at_its_charge():
    found = read_set(CONFORMERS).conformers
    assert len(found) == 427
    for one in found:
        charges = {frame.info["charge"] for frame in one.frames}
        assert len(charges) == 1
        assert (int(one.frames[0].numbers.sum()) - charges.pop()) % 2 == 0, one.molecule
    assert sum(one.frames[0].info["charge"] != 0 for one in found) == 39
