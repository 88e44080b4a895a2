"""Interaction energies: none far apart, attraction in a hydrogen bond, and sums that add up."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read
from click.testing import CliRunner

from mlff_core import load
from mlff_core.cli.main import build
from mlff_core.errors import InputError
from mlff_core.structures.reading import batch_from_atoms, read_structures
from mlff_core.testing import PairPotential
from mlff_core.units import KCAL_MOL_PER_EV
from mlff_plugins.molecules.interactions import charges_of_smiles, interaction, two_molecules


@pytest.fixture(scope="module", name="potential")
def fixture_potential():
    return load("organic-original", device="cpu", dtype="float64")


def dimer(distance):
    """Two waters, one of which gives a hydrogen bond along z, oxygen atoms ``distance`` Å apart."""
    donor = Atoms("OHH", [[0, 0, 0], [0, 0, 0.96], [0.93, 0, -0.24]])
    acceptor = Atoms("OHH", [[0, 0, 0], [-0.4, 0.76, 0.43], [-0.4, -0.76, 0.43]])
    acceptor.positions[:, 2] += distance
    return donor + acceptor


def test_two_waters_far_apart_do_not_interact(potential):
    found = interaction(potential, dimer(30.0), as_is=True)
    assert abs(found.interaction) < 1e-9
    assert found.binding == pytest.approx(sum(found.deformations), abs=1e-9)
    assert all(value > 0 for value in found.deformations)  # as built they are no minima


def test_a_hydrogen_bond_attracts_and_overlap_repels(potential):
    near, at, far = (interaction(potential, dimer(d), as_is=True).interaction for d in (2.2, 2.9, 4.5))
    assert near > 0 > at
    assert at < far
    bound = interaction(potential, dimer(2.9))
    # 5 kcal/mol by coupled clusters; the student is within 2.
    assert -7.5 < bound.interaction * KCAL_MOL_PER_EV < -3
    assert 2.7 < np.linalg.norm(bound.complex.positions[0] - bound.complex.positions[3]) < 3.1
    assert all(-1e-5 < value < 0.02 for value in bound.deformations)
    assert bound.interaction < bound.binding + 1e-5 < 0


def test_the_interaction_of_a_pair_potential_is_the_sum_over_pairs_between_the_molecules():
    pairs = PairPotential(dtype=torch.float64)
    atoms = dimer(2.9)
    found = interaction(pairs, atoms, as_is=True)

    def energy(which):
        return float(pairs.predict(batch_from_atoms(atoms[which], dtype=torch.float64)).energy[0])

    between = 0.0
    for i in (0, 1, 2):
        for j in (3, 4, 5):
            between += energy([i, j]) - energy([i]) - energy([j])
    assert found.interaction == pytest.approx(between, abs=1e-9)
    np.testing.assert_allclose(found.closest, dimer(2.9).get_all_distances()[:3, 3:].min())


def test_fragments_are_in_the_order_of_their_first_atoms_and_carry_their_charges():
    order = [3, 0, 4, 1, 5, 2]
    atoms = dimer(3.0)[order]
    assert [own.tolist() for own in two_molecules(atoms)] == [[0, 2, 4], [1, 3, 5]]
    pytest.importorskip("rdkit")
    (pair,) = read_structures("[NH4+].CC(=O)[O-]")
    members = two_molecules(pair)
    charges = charges_of_smiles("[NH4+].CC(=O)[O-]", members)
    nitrogen = next(k for k, own in enumerate(members) if 7 in pair.numbers[own])
    assert charges[nitrogen] == 1
    assert sum(charges) == 0


def test_what_is_not_two_molecules_of_known_charge_is_refused(potential):
    with pytest.raises(InputError, match=r"the structure has 1 \(H2O\)"):
        interaction(potential, molecule("H2O"))
    charged = dimer(3.0)
    charged.info["charge"] = 1
    with pytest.raises(InputError, match="--charges 1,0"):
        interaction(potential, charged)
    with pytest.raises(InputError, match="do not add up"):
        interaction(potential, dimer(3.0), charges=[1, 0])


def test_the_command_prints_table_and_json_and_writes_the_complex(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("rdkit")

    def mlff(*arguments, status=0):
        result = CliRunner().invoke(build(), ["interaction", "organic-tiny", *arguments])
        assert result.exit_code == status, result.output
        return result

    content = json.loads(mlff("O.O", "--json", "-o", "complex.xyz").stdout)
    assert content["binding_kcal_mol"] == pytest.approx(
        content["interaction_kcal_mol"] + sum(content["deformations_kcal_mol"])
    )
    assert content["charges"] == [0, 0]
    np.testing.assert_allclose(read("complex.xyz").positions, content["positions"], atol=1e-5)
    again = mlff("complex.xyz", "--as-is").stdout
    assert f"{content['interaction_kcal_mol']:.2f}" in again
    assert "cannot be written" in mlff("O.O", "-o", "complex.mol2", status=1).stderr
    assert "two whole numbers" in mlff("complex.xyz", "--charges", "1", status=1).stderr
    assert "neutral" in mlff("complex.xyz", "--charges", "1,-1", status=1).stderr
