"""The lists of molecules behind the shipped students: nothing that is judged or tested is learned."""

import runpy
from pathlib import Path

import pytest

Chem = pytest.importorskip("rdkit.Chem")

from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

LISTS = Path(__file__).parents[2] / "examples" / "train" / "data"
LEARNED = (
    "molecules.smi.gz",
    "extra.smi",
    "contacts.smi",
    "turnable.smi",
    "binders.smi",
    "ions.smi",
    "drug_ions.smi.gz",
)
ionize = runpy.run_path(str(LISTS / "ionize.py"))


def smiles_of(name):
    return list(ionize["read"](LISTS / name))


@pytest.fixture(scope="module")
def judged():
    return ionize["judged"]()


@pytest.mark.parametrize("name", LEARNED)
def test_no_molecule_of_the_judge_of_conformers_is_learned(name, judged):
    assert len(judged) > 400
    assert [smiles for smiles in smiles_of(name) if ionize["skeleton_of"](smiles) in judged] == []


def test_no_test_ion_is_learned():
    learned = {
        Chem.CanonSmiles(smiles) for name in ("ions.smi", "drug_ions.smi.gz", "extra.smi") for smiles in smiles_of(name)
    }
    assert learned.isdisjoint(Chem.CanonSmiles(smiles) for smiles in smiles_of("test_ions.smi"))


def test_no_ion_of_a_drug_has_a_scaffold_of_the_test_set():
    tested = {MurckoScaffoldSmiles(smiles) for smiles in smiles_of("test_scaffolds.smi")}
    uncharged = {ionize["skeleton_of"](scaffold) for scaffold in tested if scaffold}
    ions = smiles_of("drug_ions.smi.gz")
    found = [s for s in ions if ionize["skeleton_of"](MurckoScaffoldSmiles(s) or s) in uncharged]
    assert len(found) < 0.02 * len(ions), found


@pytest.mark.parametrize("name", ["ions.smi", "drug_ions.smi.gz", "test_ions.smi"])
def test_ions_are_closed_shells_of_the_elements_of_the_teacher(name):
    for smiles in smiles_of(name):
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        assert set(numbers) <= {1, 6, 7, 8, 9, 15, 16, 17}, smiles
        assert (sum(numbers) - Chem.GetFormalCharge(molecule)) % 2 == 0, smiles
