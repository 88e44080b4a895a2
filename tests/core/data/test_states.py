"""Molecules of a list are started from in their states at a pH, and as their tautomers."""

import pytest

pytest.importorskip("rdkit")

from mlff_core.data.generate import generate
from mlff_core.data.reader import Dataset
from mlff_core.data.recipe import GenerateConfig, Kinds
from mlff_core.data.sampling import STRATEGIES
from mlff_core.data.states import states
from mlff_core.errors import InputError

OTHERS = {name: kind(enabled=False) for name, kind in STRATEGIES.items() if name != "minimum"}
ONLY_MINIMA = Kinds(**OTHERS)


@pytest.mark.parametrize(
    ("smiles", "acid", "neutral", "base"),
    [
        ("CC(=O)O", "CC(=O)O", "CC(=O)[O-]", "CC(=O)[O-]"),
        ("CCN", "CC[NH3+]", "CC[NH3+]", "CCN"),
        ("NCC(=O)O", "[NH3+]CC(=O)O", "[NH3+]CC(=O)[O-]", "NCC(=O)[O-]"),
        ("CCO", "CCO", "CCO", "CCO"),
        ("C[C@H](N)C(=O)O", "C[C@H]([NH3+])C(=O)O", "C[C@H]([NH3+])C(=O)[O-]", "C[C@H](N)C(=O)[O-]"),
    ],
)
def test_protons_are_those_that_the_molecule_has_in_water(smiles, acid, neutral, base):
    pytest.importorskip("dimorphite_dl")
    assert [states(smiles, ph, 1) for ph in (1.0, 7.4, 13.0)] == [[acid], [neutral], [base]]


@pytest.mark.parametrize(
    ("smiles", "found"),
    [
        ("[NH4+].O", "O.[NH4+]"),
        ("[OH-].O", "O.[OH-]"),
        ("[Na+].CC(=O)[O-]", "CC(=O)[O-].[Na+]"),
        ("CC(=O)O.CCN", "CC(=O)[O-].CC[NH3+]"),
        ("C[N+](C)(C)C.[Cl-]", "C[N+](C)(C)C.[Cl-]"),
    ],
)
def test_every_molecule_of_a_smiles_stays(smiles, found):
    pytest.importorskip("dimorphite_dl")
    assert states(smiles, 7.4, 1) == [found]


def test_tautomers_begin_with_the_given_one_and_have_its_atoms():
    found = states("CC(=O)CC(C)=O", None, 3)
    assert found[0] == "CC(=O)CC(C)=O"
    assert "CC(=O)C=C(C)O" in found
    assert len(found) == len(set(found)) <= 3
    assert states("c1ccccc1", None, 5) == ["c1ccccc1"]
    assert states("C[C@H](O)F", None, 5) == ["C[C@H](O)F"]


def settings(**changes):
    return GenerateConfig(conformers=1, kinds=ONLY_MINIMA, **changes)


def test_a_data_set_of_a_list_holds_the_states(tmp_path):
    pytest.importorskip("dimorphite_dl")
    (tmp_path / "list.smi").write_text("CC(=O)O\nCCN\nCCO\n")
    generate(tmp_path / "list.smi", tmp_path / "set.h5", settings(ph=7.4))
    found = list(Dataset(tmp_path / "set.h5").structures())
    assert {(s.smiles, s.charge) for s in found} == {("CC(=O)[O-]", -1), ("CC[NH3+]", 1), ("CCO", 0)}
    generate(tmp_path / "list.smi", tmp_path / "taut.h5", settings(tautomers=2))
    assert "C=C(O)O" in {s.smiles for s in Dataset(tmp_path / "taut.h5").structures()}


def test_structures_with_their_protons_are_refused(tmp_path):
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    with pytest.raises(InputError, match="ph and tautomers are for lists of SMILES"):
        generate(tmp_path / "water.xyz", tmp_path / "set.h5", settings(ph=7.4))


@pytest.mark.parametrize(("changes", "message"), [({"ph": 20.0}, "ph must lie in"), ({"tautomers": 0}, "at least 1")])
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        settings(**changes)
