from dataclasses import replace

import numpy as np
import pytest

from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.merge import merge
from mlff_core.data.split import assign, groups, scaffold, split_dataset
from mlff_core.errors import InputError

SMILES = ["c1ccccc1C", "c1ccccc1O", "c1ccncc1", "Cc1ccncc1C", "CCO", "CCCO", "C1CC1", "CC(C)C1CC1", "O", "CCO.O"]


def structures(n_each=6, smiles=SMILES, **changes):
    for molecule, text in enumerate(smiles):
        for k in range(n_each):
            yield LabelledStructure(
                np.array([6], dtype=np.uint8),
                np.array([[molecule, k, 0.0]]),
                energy=float(molecule),
                forces=np.zeros((1, 3)),
                molecule_id=molecule,
                smiles=text,
                kind="minimum" if k == 0 else "md",
                **changes,
            )


@pytest.fixture
def path(tmp_path):
    write_dataset(tmp_path / "set.h5", structures(), teacher={"name": "t"})
    return tmp_path / "set.h5"


@pytest.mark.parametrize("seed", range(5))
def test_a_molecule_never_straddles_a_split(path, seed):
    parts = split_dataset(path, path, validation=0.2, test=0.2, seed=seed)
    assert sum(parts.values()) == 60
    assert all(count > 0 for count in parts.values())
    with Dataset(path) as dataset:
        dataset.validate()
        for molecule in range(len(SMILES)):
            assert len(set(dataset.split[dataset.molecule_id == molecule])) == 1
        assert len(set(dataset.split[np.isin(dataset.molecule_id, [4, 9])])) == 1  # ethanol, and ethanol with water


def test_the_same_seed_gives_the_same_split_and_another_seed_another(path, tmp_path):
    codes = []
    for seed in (0, 0, 1):
        split_dataset(path, tmp_path / "out.h5", validation=0.2, test=0.2, seed=seed)
        codes.append(Dataset(tmp_path / "out.h5").split.tolist())
    assert codes[0] == codes[1] != codes[2]
    assert Dataset(path).split is None


def test_a_split_changes_nothing_else(path, tmp_path):
    split_dataset(path, tmp_path / "out.h5", validation=0.2, test=0.2)
    before, after = Dataset(path), Dataset(tmp_path / "out.h5")
    assert after.teacher == before.teacher
    np.testing.assert_array_equal(after.read(np.arange(60)).batch.positions, before.read(np.arange(60)).batch.positions)


@pytest.mark.parametrize("seed", range(5))
def test_a_scaffold_never_straddles_a_split(path, seed):
    pytest.importorskip("rdkit")
    split_dataset(path, path, by="scaffold", validation=0.2, test=0.2, seed=seed)
    dataset = Dataset(path)
    for together in ([0, 1], [2, 3], [6, 7], [4, 9]):
        assert len(set(dataset.split[np.isin(dataset.molecule_id, together)])) == 1, together


def test_scaffolds_are_rings_and_what_links_them():
    pytest.importorskip("rdkit")
    assert scaffold("Cc1ccc(C(=O)N2CCC(CCc3ccccc3)CC2)cn1") == "O=C(c1cccnc1)N1CCC(CCc2ccccc2)CC1"
    assert scaffold("CCO") == "CCO"
    assert scaffold("") == ""


def test_without_smiles_molecules_are_identified_by_number_and_scaffolds_refused(tmp_path):
    bare = [replace(s, smiles=None) for s in structures()]
    write_dataset(tmp_path / "bare.h5", bare)
    split_dataset(tmp_path / "bare.h5", tmp_path / "bare.h5", validation=0.2, test=0.2)
    Dataset(tmp_path / "bare.h5").validate()
    with pytest.raises(InputError, match="needs SMILES"):
        split_dataset(tmp_path / "bare.h5", tmp_path / "bare.h5", by="scaffold")


def test_parts_are_as_large_as_asked_for_within_a_group():
    group = np.repeat(np.arange(500), np.random.default_rng(0).integers(1, 20, 500))
    codes = assign(group, 0.1, 0.15, seed=3)
    assert np.mean(codes == 1) == pytest.approx(0.1, abs=0.005)
    assert np.mean(codes == 2) == pytest.approx(0.15, abs=0.005)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"by": "frame"},
            "or by composition or by elements, got 'frame'; frames of a molecule stay together",
        ),
        ({"test": 0.6, "validation": 0.5}, "must be shares that leave some for training"),
        ({"test": -0.1}, "must be shares"),
    ],
)
def test_impossible_splits_are_refused(path, options, message):
    with pytest.raises(InputError, match=message):
        split_dataset(path, path, **options)


def test_too_few_molecules_are_refused(tmp_path):
    write_dataset(tmp_path / "one.h5", structures(smiles=["CCO"]))
    with pytest.raises(InputError, match=r"nothing is left for train: 1 groups of molecules are too few"):
        split_dataset(tmp_path / "one.h5", tmp_path / "one.h5")
    assert Dataset(tmp_path / "one.h5").split is None


def test_groups_of_pairs_go_with_the_largest_molecule():
    ids = groups(np.arange(4), ["CCCCO", "O.CCCCO", "O", "CC"], "molecule")
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_merged_sets_share_their_molecules(path, tmp_path):
    write_dataset(tmp_path / "more.h5", structures(2, ["CCO", "CCCCCC"]), teacher={"name": "t"}, license="CC0")
    assert merge([path, tmp_path / "more.h5"], tmp_path / "all.h5") == 64
    with Dataset(tmp_path / "all.h5") as merged:
        merged.validate()
        assert merged.smiles == [*SMILES, "CCCCCC"]
        assert merged.molecule_id[-4:].tolist() == [4, 4, 10, 10]
        assert merged.energy[-4:].tolist() == [0, 0, 1, 1]
        assert merged.structure(60).kind == "minimum"
        assert merged.license == "CC0"


def test_the_weights_of_a_merged_set_are_multiplied(path, tmp_path):
    write_dataset(tmp_path / "more.h5", [replace(s, weight=0.5) for s in structures(2, ["CCO"])], teacher={"name": "t"})
    merge([path, tmp_path / "more.h5"], tmp_path / "all.h5", {tmp_path / "more.h5": 3.0})
    with Dataset(tmp_path / "all.h5") as merged:
        assert [merged.structure(k).weight for k in (0, 59, 60, 61)] == [1, 1, 1.5, 1.5]
        assert [source["weight"] for source in merged.created["sources"]] == [1, 3]


@pytest.mark.parametrize(
    ("name", "weight", "message"), [("more.h5", 2.0, "not among the sets"), ("all.h5", 0.0, "above 0")]
)
def test_impossible_weights_are_refused(path, tmp_path, name, weight, message):
    write_dataset(tmp_path / "all.h5", structures(2, ["CCO"]), teacher={"name": "t"})
    with pytest.raises(InputError, match=message):
        merge([path, tmp_path / "all.h5"], tmp_path / "out.h5", {tmp_path / name: weight})


def test_merged_sets_without_smiles_keep_their_molecules_apart(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_dataset(tmp_path / name, [replace(s, smiles=None) for s in structures(2, ["C", "CC"])])
    merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "all.h5")
    assert Dataset(tmp_path / "all.h5").molecule_id.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_sets_of_different_teachers_are_not_merged(path, tmp_path):
    write_dataset(tmp_path / "other.h5", structures(), teacher={"name": "u"})
    with pytest.raises(InputError, match=r"labels of different teachers \(t and u\)"):
        merge([path, tmp_path / "other.h5"], tmp_path / "all.h5")
    with pytest.raises(InputError, match="at least two"):
        merge([path], tmp_path / "all.h5")


def test_a_composite_teacher_is_merged_with_the_teacher_inside_its_molecules(tmp_path):
    inside = {"name": "t", "sha256": "1"}
    composite = {"name": "c", "settings": {"inside": inside, "between": {"name": "u"}}}
    for name, teacher in (("t.h5", inside), ("c.h5", composite), ("u.h5", {"name": "u"})):
        write_dataset(tmp_path / name, structures(2, ["C"]), teacher=teacher)
    for order in (("t.h5", "c.h5"), ("c.h5", "t.h5")):
        merge([tmp_path / name for name in order], tmp_path / "all.h5")
        assert Dataset(tmp_path / "all.h5").teacher == composite
    with pytest.raises(InputError, match=r"labels of different teachers \(c and u\)"):
        merge([tmp_path / "c.h5", tmp_path / "u.h5"], tmp_path / "bad.h5")
