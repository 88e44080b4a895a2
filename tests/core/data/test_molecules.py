"""Number and charge of the molecule of each atom: kept by files, checked, and made by the samplers that know them."""

from dataclasses import replace

import ase.io
import h5py
import numpy as np
import pytest

from mlff_core.data.convert import atoms_from_structure, convert
from mlff_core.data.filter import Filter, filter_dataset
from mlff_core.data.merge import merge
from mlff_core.data.reader import Dataset
from mlff_core.data.sampling.dimer import beside
from mlff_core.data.structure import LabelledStructure, batch_from_structures
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError
from mlff_core.structures.batch import concatenate, split
from mlff_core.structures.reading import batch_from_atoms


def water(**more):
    positions = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], dtype=np.float32)
    return LabelledStructure(np.array([8, 1, 1], dtype=np.uint8), positions, smiles="O", **more)


def hydroxide():
    return LabelledStructure(
        np.array([8, 1], dtype=np.uint8),
        np.array([[0, 0, 0], [0.96, 0, 0]], dtype=np.float32),
        charge=-1,
        smiles="[OH-]",
    )


@pytest.fixture
def pair():
    return beside(hydroxide(), water(), 2.5, np.random.default_rng(0))


@pytest.fixture
def path(tmp_path, pair):
    write_dataset(tmp_path / "set.h5", [water(), pair, beside(pair, water(), 2.0, np.random.default_rng(1))])
    return tmp_path / "set.h5"


def test_molecules_put_beside_each_other_are_numbered_and_keep_their_charges(pair):
    assert pair.fragment.tolist() == [0, 0, 1, 1, 1]
    assert pair.fragment_charge.tolist() == [-1, -1, 0, 0, 0]
    three = beside(pair, hydroxide(), 2.5, np.random.default_rng(1))
    assert three.fragment.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert three.fragment_charge.tolist() == [-1, -1, 0, 0, 0, -1, -1]


def test_a_file_keeps_them_and_a_structure_without_them_has_none(path):
    one, two, three = Dataset(path).structures()
    assert one.fragment is None
    assert one.fragment_charge is None
    assert two.fragment.tolist() == [0, 0, 1, 1, 1]
    assert three.fragment_charge.tolist() == [-1, -1, *[0] * 6]
    Dataset(path).validate()


def test_a_batch_of_a_file_and_of_structures_of_ase_has_them(pair, tmp_path):
    labelled = replace(pair, energy=0.0, forces=np.zeros((5, 3), dtype=np.float32))
    write_dataset(tmp_path / "labelled.h5", [labelled, replace(water(), energy=0.0, forces=np.zeros((3, 3)))])
    batch = Dataset(tmp_path / "labelled.h5").read([0, 1]).batch
    assert batch.fragment.tolist() == [0, 0, 1, 1, 1, -1, -1, -1]
    assert batch.fragment_charge.tolist() == [-1, -1, 0, 0, 0, 0, 0, 0]
    atoms = atoms_from_structure(pair)
    both = batch_from_atoms([atoms, atoms_from_structure(water())])
    assert both.fragment.tolist() == [0, 0, 1, 1, 1, -1, -1, -1]
    assert both.fragment_charge.tolist() == [-1, -1, 0, 0, 0, 0, 0, 0]
    del atoms.arrays["fragment_charge"]  # a column of another program, which may mean something else
    assert batch_from_atoms(atoms).fragment is None
    atoms.set_array("fragment_charge", np.full(5, -0.5))
    with pytest.raises(InputError, match="column fragment_charge must be one whole number"):
        batch_from_atoms(atoms)


def test_a_file_of_version_1_is_read(path, tmp_path):
    write_dataset(tmp_path / "old.h5", [water()])
    with h5py.File(tmp_path / "old.h5", "a") as file:
        file.attrs["version"] = 1
        assert "fragment" not in file
    assert Dataset(tmp_path / "old.h5").structure(0).fragment is None


@pytest.mark.parametrize("way", ["extxyz", "filter", "merge"])
def test_they_survive_other_files(path, tmp_path, way):
    if way == "extxyz":
        convert(path, tmp_path / "set.extxyz")
        convert(tmp_path / "set.extxyz", tmp_path / "again.h5")
    elif way == "filter":
        filter_dataset(path, tmp_path / "again.h5", Filter(charge=-1))
    else:
        write_dataset(tmp_path / "more.h5", [water(kind="minimum")])
        merge([path, tmp_path / "more.h5"], tmp_path / "again.h5")
    found = [s for s in Dataset(tmp_path / "again.h5").structures() if s.charge == -1]
    assert [s.fragment.tolist() for s in found] == [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 2, 2, 2]]
    assert found[0].fragment_charge.tolist() == [-1, -1, 0, 0, 0]


def test_batches_have_them_apart_and_together(pair):
    batch = batch_from_structures([water(), pair])
    assert batch.fragment.tolist() == [-1, -1, -1, 0, 0, 1, 1, 1]
    assert batch.fragment_charge.tolist() == [0, 0, 0, -1, -1, 0, 0, 0]
    again = concatenate(split(batch)).to(dtype=batch.dtype)
    assert again.fragment.tolist() == batch.fragment.tolist()
    assert batch_from_structures([water()]).fragment is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fragment_charge": None}, "belong together"),
        ({"fragment_charge": [-1, 0, 0, 0, 0]}, "all atoms of a molecule must have the same fragment_charge"),
        ({"charge": 0}, "-1, \\+0, add up to -1 e, but the total charge is \\+0 e"),
        ({"fragment": [0, 0, -1, -1, -1]}, "must not be negative"),
        ({"fragment": [0, 0, 1]}, "fragment of a structure must have shape"),
        ({"fragment": [0.5, 0.5, 1.0, 1.0, 1.0]}, "fragment must be whole numbers"),
    ],
)
def test_columns_that_do_not_fit_are_refused(pair, changes, message):
    changes = {name: np.array(value) if isinstance(value, list) else value for name, value in changes.items()}
    with pytest.raises(InputError, match=message):
        replace(pair, **changes)


@pytest.mark.parametrize("column", [["a", "a", "b", "b", "b"], [0, 0, 0.5, 1, 1], [0, 0, 3e9, 3e9, 3e9]])
def test_a_column_of_a_structure_file_that_is_no_number_is_refused(pair, tmp_path, column):
    frame = atoms_from_structure(pair)
    del frame.arrays["fragment"]
    frame.set_array("fragment", np.array(column))
    ase.io.write(tmp_path / "pair.extxyz", frame)
    with pytest.raises(InputError, match="fragment must be one whole number up to 1,000,000"):
        convert(tmp_path / "pair.extxyz", tmp_path / "pair.h5")


def test_a_damaged_file_names_the_structure(path):
    with h5py.File(path, "a") as file:
        file["fragment_charge"][3] = 2
    with pytest.raises(InputError, match=r"set.h5: data set 'fragment': structure 1: all atoms of a molecule"):
        Dataset(path).validate()
    with pytest.raises(InputError, match=r"set.h5: data set 'fragment': structure 1: all atoms of a molecule"):
        Dataset(path).structure(1)
    with h5py.File(path, "a") as file:
        del file["fragment_charge"]
    with pytest.raises(InputError, match="must both be present or both be absent"):
        Dataset(path)


def test_the_molecules_of_one_smiles_are_known():
    pytest.importorskip("rdkit")
    from mlff_core.data.sampling.conformers import conformers

    (salt,) = conformers("CC(=O)[O-].C[NH3+]", 1, 0)
    assert sorted(set(zip(salt.fragment.tolist(), salt.fragment_charge.tolist(), strict=True))) == [(0, -1), (1, 1)]
    (alone,) = conformers("CC(=O)[O-]", 1, 0)
    assert alone.fragment is None
