"""Conformers of small molecules are those of the textbook."""

import json

import numpy as np
import pytest
from ase.io import read, write
from click.testing import CliRunner

from mlff_core import load
from mlff_core.cli.main import build
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.reading import read_structures
from mlff_core.units import EV_PER_KELVIN, KCAL_MOL_PER_EV
from mlff_plugins.molecules.conformers import distance, search, without_hydrogens_on_carbon
from mlff_plugins.molecules.embedding import starts

chem = pytest.importorskip("rdkit.Chem")


@pytest.fixture(scope="module", name="potential")
def fixture_potential():
    return load("organic-original", device="cpu")


@pytest.fixture(scope="module", name="butane")
def fixture_butane(potential):
    begin = starts("CCCC", 20, 1)
    return begin, search(potential, begin, fmax=0.005)


def test_butane_is_anti_and_twice_gauche(butane):
    _, found = butane
    assert len(found.conformers) == 3
    anti, *gauche = found.conformers
    assert abs(anti.atoms.get_dihedral(0, 1, 2, 3) - 180) < 2
    angles = sorted(one.atoms.get_dihedral(0, 1, 2, 3) for one in gauche)
    assert 55 < angles[0] < 75
    assert angles[0] + angles[1] == pytest.approx(360, abs=2)
    for one in gauche:  # 0.6 kcal/mol by coupled clusters
        assert 0.3 < one.relative_energy_kcal_mol < 1.0
    assert gauche[0].energy == pytest.approx(gauche[1].energy, abs=2e-4)
    assert sum(one.n_found for one in found.conformers) == found.n_starts == 20


def test_weights_are_boltzmanns(butane, potential):
    begin, found = butane
    assert sum(one.weight for one in found.conformers) == pytest.approx(1)
    for one in found.conformers[1:]:
        expected = np.exp(-one.relative_energy_kcal_mol / (EV_PER_KELVIN * KCAL_MOL_PER_EV * 298.15))
        assert one.weight / found.conformers[0].weight == pytest.approx(expected)
    cold = search(potential, begin, temperature_kelvin=20.0)
    assert cold.conformers[0].weight > 0.999


def test_each_conformer_is_a_minimum_of_the_energy(butane, potential):
    from mlff_core.structures.reading import batch_from_atoms

    for one in butane[1].conformers:
        hessian = potential.hessian(batch_from_atoms(one.atoms)).double().numpy()
        assert np.linalg.eigvalsh(hessian)[:6].min() > -0.05  # translations and rotations only
        assert np.linalg.norm(one.atoms.get_forces(), axis=1).max() < 0.005


@pytest.mark.parametrize(("smiles", "n"), [("C", 1), ("c1ccccc1", 1), ("CC(C)(C)C", 1), ("O", 1), ("CCO", 3)])
def test_equivalent_atoms_give_no_new_conformers(potential, smiles, n):
    assert len(search(potential, starts(smiles, 12, 1)).conformers) == n


def test_the_distance_of_two_geometries_knows_rotations_and_equivalent_atoms():
    molecule = starts("Cc1ccc(O)cc1", 1, 1)
    skeleton, kept = without_hydrogens_on_carbon(molecule.molecule)
    assert [molecule.frames[0].numbers[k] for k in kept].count(1) == 1
    here = molecule.frames[0].positions[kept]
    angle = 1.1
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    assert distance(skeleton, here, here @ turn.T + 3.0) == pytest.approx(0, abs=1e-3)
    matches = skeleton.GetSubstructMatches(skeleton, uniquify=False)
    swapped = next(match for match in matches if list(match) != list(range(len(kept))))
    # The other ortho and meta carbons, with the hydroxyl group where it was: nearly the same geometry.
    assert np.sqrt(np.square(here - here[list(swapped)]).sum(1).mean()) > 1
    assert distance(skeleton, here, here[list(swapped)]) < 1e-3


def test_an_open_stereocentre_is_set_once(potential):
    begin = starts("CC(N)C(=O)O", 10, 1)
    assert "@" in begin.chosen
    hands = {chem.MolToSmiles(chem.RemoveHs(molecule)) for molecule in _from_3d(begin)}
    assert hands == {begin.chosen}
    for given in ("C[C@H](N)C(=O)O", "F/C=C/F", "F/C=C\\F", "C1CCCC=C1", "CC(C)=O", "C[C@H]1CC[C@@H](O)CC1"):
        assert starts(given, 1, 1).chosen is None, given
    assert starts("FC=CF", 1, 1).chosen in ("F/C=C/F", "F/C=C\\F")


def _from_3d(begin):
    for conformer in begin.molecule.GetConformers():
        molecule = chem.Mol(begin.molecule, confId=conformer.GetId())
        chem.AssignStereochemistryFrom3D(molecule, conformer.GetId())
        yield molecule


def test_structures_of_a_file_are_relaxed_as_they_are(potential, tmp_path):
    frames = starts("CCCC", 6, 3).frames
    write(tmp_path / "six.xyz", frames)
    begin = starts(tmp_path / "six.xyz", None, 1)
    assert (len(begin.frames), begin.embedded) == (6, False)
    np.testing.assert_allclose(begin.frames[4].positions, frames[4].positions, atol=1e-6)
    write(tmp_path / "one.xyz", frames[0])
    assert starts(tmp_path / "one.xyz", 7, 1).embedded
    write(tmp_path / "two.xyz", [frames[0], starts("CCC", 1, 1).frames[0]])
    with pytest.raises(InputError, match="structures of one molecule"):
        starts(tmp_path / "two.xyz", None, 1)
    with pytest.raises(UnsupportedError, match="neutral"):
        search(potential, starts("CC(=O)[O-]", 2, 1))


def test_the_command_writes_table_json_sdf_and_plot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("matplotlib")

    def mlff(*arguments):
        result = CliRunner().invoke(build(), ["conformers", "organic-tiny", "CCO", "--n", "10", *arguments])
        assert result.exit_code == 0, result.output
        return result

    rows = json.loads(mlff("--json", "-o", "out.sdf", "--plot", "out.png").stdout)["conformers"]
    assert rows[0]["relative_energy_kcal_mol"] == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    frames = read_structures(tmp_path / "out.sdf")
    assert len(frames) == len(rows)
    for frame, row in zip(frames, rows, strict=True):
        np.testing.assert_allclose(frame.positions, row["positions"], atol=1e-4)
    molecules = list(chem.SDMolSupplier(str(tmp_path / "out.sdf"), removeHs=False))
    assert {chem.MolToSmiles(chem.RemoveHs(one)) for one in molecules} == {"CCO"}
    assert float(molecules[-1].GetProp("weight")) == pytest.approx(rows[-1]["weight"], abs=1e-6)
    assert "weight" in mlff("-o", "out.extxyz").stdout
    assert len(read(tmp_path / "out.extxyz", ":")) == len(rows)
