"""A SMILES in place of a file, lists of SMILES, and drawings."""

import subprocess
import sys

import numpy as np
import pytest

from mlff_core.errors import InputError
from mlff_core.structures.bonds import bonded
from mlff_core.structures.conversion import advice
from mlff_core.structures.electrons import electronic_state
from mlff_core.structures.reading import batch_from_atoms, read_structures

chem = pytest.importorskip("rdkit.Chem")

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_a_smiles_is_a_structure_with_the_bonds_of_its_molecule():
    (atoms,) = read_structures(ASPIRIN)
    assert atoms.get_chemical_formula() == "C9H8O4"
    molecule = chem.AddHs(chem.MolFromSmiles(ASPIRIN))
    assert bonded(atoms.positions, atoms.numbers).sum() == 2 * molecule.GetNumBonds()
    assert np.ptp(atoms.positions, axis=0).min() > 1  # not flat


@pytest.mark.parametrize(
    ("smiles", "charge", "multiplicity"),
    [("CC(=O)[O-]", -1, None), ("[NH3+]CC(=O)[O-]", None, None), ("C[NH2+]CC[NH3+]", 2, None), ("[CH3]", None, 2)],
)
def test_the_charge_and_the_radicals_of_a_smiles_are_carried(smiles, charge, multiplicity):
    (atoms,) = read_structures(smiles)
    assert tuple(electronic_state(atoms)) == (charge, multiplicity)
    batch = batch_from_atoms(atoms)
    assert (0 if batch.charge is None else int(batch.charge[0])) == (charge or 0)


def test_a_smiles_gives_the_same_structure_each_time():
    np.testing.assert_array_equal(read_structures("CCCO")[0].positions, read_structures("CCCO")[0].positions)


def test_the_handedness_of_a_smiles_is_kept():
    left, right = read_structures("C[C@H](N)O")[0], read_structures("C[C@@H](N)O")[0]
    a, b = ([p - atoms.positions[1] for p in atoms.positions[[0, 2, 3]]] for atoms in (left, right))
    assert np.linalg.det(a) * np.linalg.det(b) < 0


@pytest.mark.parametrize("smiles", ["O.O", "c1ccccc1.c1ccccc1", "C[C@H](N)C(=O)O.O.O", "[NH4+].CC(=O)[O-]"])
def test_molecules_of_one_smiles_lie_beside_one_another(smiles):
    (atoms,) = read_structures(smiles)
    fragments = chem.GetMolFrags(chem.AddHs(chem.MolFromSmiles(smiles)))
    distances = atoms.get_all_distances()
    for k, own in enumerate(fragments):
        others = [atom for other in fragments[:k] for atom in other]
        if others:
            assert 1.4 < distances[np.ix_(own, others)].min() < 4  # neither overlapping nor far apart
    assert atoms.info["smiles"] == chem.CanonSmiles(smiles)


def test_setting_molecules_apart_keeps_their_handedness():
    (atoms,) = read_structures("C[C@H](N)O.C[C@@H](N)O")
    volumes = [np.linalg.det(atoms.positions[[k, k + 2, k + 3]] - atoms.positions[k + 1]) for k in (0, 4)]
    assert volumes[0] * volumes[1] < 0


def test_a_file_of_the_same_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CO").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    (tmp_path / "CO").rename(tmp_path / "CO.xyz")
    assert len(read_structures("CO")[0]) == 6
    assert len(read_structures("CO.xyz")[0]) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none.xyz", "there is no file none.xyz, and it is not a valid SMILES; give a structure file"),
        ("C1CC", "there is no file C1CC, and it is not a valid SMILES"),
        ("C(C)(C)(C)(C)C", "is not a possible molecule"),
        ("C" * 5001, "more than 5,000"),
        ("C" * 400, "too large to be embedded"),
    ],
)
def test_what_is_neither_file_nor_molecule_gives_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_structures(text)
    assert "\n" not in str(caught.value)


def test_without_rdkit_a_missing_file_is_a_missing_file():
    code = (
        "import sys; sys.modules['rdkit'] = None\n"
        "from mlff_core.structures.reading import read_structures\n"
        "try: read_structures('none.xyz')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("InputError there is no file none.xyz, SMILES need RDKit: pip install")


def test_a_list_of_smiles_is_read_with_names(tmp_path):
    path = tmp_path / "few.smi"
    path.write_text("CCO ethyl alcohol\n# note\n\nCC(=O)[O-]\n")
    frames = read_structures(path)
    assert [frame.get_chemical_formula() for frame in frames] == ["C2H6O", "C2H3O2"]
    assert frames[0].info["name"] == "ethyl alcohol"
    assert frames[1].info["charge"] == -1
    path.write_text("CCO\nC1CC\n")
    with pytest.raises(InputError, match="line 2: 'C1CC' is not a valid SMILES"):
        read_structures(path)
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="holds no structure"):
        read_structures(path)


def test_a_drawing_gets_its_hydrogens_and_a_geometry(tmp_path):
    molecule = chem.MolFromSmiles("CC(=O)[O-]")
    chem.rdDepictor.Compute2DCoords(molecule)
    path = tmp_path / "drawing.sdf"
    path.write_text(chem.MolToMolBlock(molecule) + "$$$$\n")
    (atoms,) = read_structures(path)
    assert atoms.get_chemical_formula() == "C2H3O2"
    assert atoms.info["charge"] == -1
    assert np.ptp(atoms.positions, axis=0).min() > 1


def test_a_v3000_molecule_keeps_its_geometry_and_charge(tmp_path):
    (ion,) = read_structures("CC(=O)[O-]")
    molecule = chem.AddHs(chem.MolFromSmiles("CC(=O)[O-]"))
    conformer = chem.Conformer(len(ion))
    for k, position in enumerate(ion.positions):
        conformer.SetAtomPosition(k, position.tolist())
    molecule.AddConformer(conformer)
    (tmp_path / "v3000.sdf").write_text(chem.MolToV3KMolBlock(molecule) + "$$$$\n")
    (read,) = read_structures(tmp_path / "v3000.sdf")
    np.testing.assert_allclose(read.positions, ion.positions, atol=1e-4)
    assert read.info["charge"] == -1


def test_a_geometry_that_is_called_a_drawing_is_taken_as_it_is(tmp_path):
    molecule = chem.AddHs(chem.MolFromSmiles("CCO"))
    chem.rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
    block = chem.MolToMolBlock(molecule).replace("3D", "2D")
    (tmp_path / "odd.sdf").write_text(block + "$$$$\n")
    positions = molecule.GetConformer().GetPositions()
    np.testing.assert_allclose(read_structures(tmp_path / "odd.sdf")[0].positions, positions, atol=1e-4)


def test_a_peptide_is_embedded_from_random_coordinates():
    (atoms,) = read_structures(
        "CC[C@H](C)[C@H](NC(=O)[C@H](C)NC(=O)[C@H](Cc1ccccc1)NC(=O)CN)C(=O)N[C@@H](CCCNC(N)=[NH2+])C(=O)"
        "N[C@@H](Cc1ccc(O)cc1)C(=O)[O-]"
    )
    assert len(atoms) == 103


def test_formats_that_are_not_read_name_what_converts_them(tmp_path):
    for name, program in [
        ("run.nc", "MDAnalysis"),
        ("a.mae", "structconvert"),
        ("a.pdbqt", "obabel a.pdbqt -O a.sdf"),
    ]:
        (tmp_path / name).write_bytes(b"\x01\x02 not a structure")
        with pytest.raises(InputError, match="cannot be read as a structure file") as caught:
            read_structures(tmp_path / name)
        assert program in str(caught.value)
        assert advice(tmp_path / name) in str(caught.value)
