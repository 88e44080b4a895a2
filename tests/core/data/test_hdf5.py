"""The data set file: written and read, whole, in parts and by several processes.

Over 300 lines, in one file because its tests share one file and its structures.
"""

import json
import multiprocessing
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from mlff_core.data.hdf5 import Dataset, LabelledStructure, batch_from_structures, write_dataset
from mlff_core.errors import InputError

TEACHER = {
    "name": "made-up",
    "method": "random numbers",
    "package": "numpy",
    "version": "1",
    "sha256": "",
    "licence": "CC0",
}
NAMES = ("atomic_numbers", "positions", "forces", "cell", "pbc", "stress", "atom_energies")


def some_structures(n=40, seed=0, periodic=False):
    rng = np.random.default_rng(seed)
    for k in range(n):
        n_atoms = int(rng.integers(1, 12))
        yield LabelledStructure(
            atomic_numbers=rng.choice([1, 6, 8], n_atoms),
            positions=rng.normal(size=(n_atoms, 3)).astype(np.float32),
            energy=float(rng.normal()),
            forces=rng.normal(size=(n_atoms, 3)).astype(np.float32),
            cell=5 * np.eye(3) + rng.normal(size=(3, 3)) if periodic else None,
            pbc=np.array([True, True, False]) if periodic else None,
            stress=rng.normal(size=(3, 3)).astype(np.float32) if periodic else None,
            charge=k % 3 - 1,
            spin_multiplicity=1 + k % 2,
            weight=1 + k,
            atom_energies=rng.normal(size=n_atoms).astype(np.float32),
            molecule_id=k // 4,
            kind=["minimum", "rattle", "md"][k % 3],
            smiles="C" * (1 + k // 4),
            split=["train", "validation", "test"][k // 4 % 3],
        )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "set.h5"
    write_dataset(path, some_structures(), teacher=TEACHER, created={"command": "a test"}, license="CC0")
    return path


@pytest.mark.parametrize("periodic", [False, True])
def test_what_was_written_is_read_back(tmp_path, periodic):
    written = list(some_structures(periodic=periodic))
    path = tmp_path / "set.h5"
    assert write_dataset(path, written, teacher=TEACHER, license="CC0") == len(written)
    with Dataset(path) as dataset:
        dataset.validate()
        assert dataset.teacher == TEACHER
        assert dataset.license == "CC0"
        assert dataset.elements == (1, 6, 8)
        for k, (before, after) in enumerate(zip(written, dataset.structures(), strict=True)):
            for name in NAMES:
                if getattr(before, name) is None:
                    assert getattr(after, name) is None
                else:
                    np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
            for name in ("energy", "charge", "spin_multiplicity", "weight", "molecule_id", "kind", "smiles", "split"):
                assert getattr(after, name) == getattr(before, name), (k, name)


def test_a_batch_holds_the_structures_in_the_order_asked_for(path):
    dataset = Dataset(path)
    wanted = [17, 3, 39, 0, 4, 3]
    read = dataset.read(wanted)
    singles = [dataset.structure(k) for k in wanted]
    assert read.batch.system_idx.tolist() == [k for k, s in enumerate(singles) for _ in range(s.n_atoms)]
    np.testing.assert_array_equal(read.batch.positions, np.concatenate([s.positions for s in singles]))
    np.testing.assert_array_equal(read.batch.atomic_numbers, np.concatenate([s.atomic_numbers for s in singles]))
    np.testing.assert_array_equal(read.forces, np.concatenate([s.forces for s in singles]))
    np.testing.assert_array_equal(read.atom_energies, np.concatenate([s.atom_energies for s in singles]))
    assert read.energy.tolist() == [s.energy for s in singles]
    assert read.batch.charge.tolist() == [s.charge for s in singles]
    assert read.weight.tolist() == [s.weight for s in singles]
    assert read.index.tolist() == wanted
    assert read.stress is None


def test_scattered_reads_equal_one_large_read(tmp_path):
    path = tmp_path / "large.h5"
    write_dataset(path, some_structures(1500))
    dataset = Dataset(path)
    everything = dataset.read(np.arange(1500))
    wanted = np.random.default_rng(1).permutation(1500)[:20]
    scattered = dataset.read(wanted)
    torch.testing.assert_close(scattered.energy, everything.energy[torch.from_numpy(wanted)], rtol=0, atol=0)
    rows = torch.cat([torch.arange(dataset.offsets[k], dataset.offsets[k + 1]) for k in wanted])
    torch.testing.assert_close(scattered.forces, everything.forces[rows], rtol=0, atol=0)


def test_energies_stay_double_when_a_batch_changes_precision(path):
    read = Dataset(path).read([0, 1]).to("cpu", torch.float64)
    assert read.energy.dtype == read.forces.dtype == read.batch.dtype == torch.float64
    assert read.to(dtype=torch.float32).energy.dtype == torch.float64
    assert read.to(dtype=torch.float32).forces.dtype == torch.float32


def test_a_file_without_optional_columns_is_neutral_and_each_structure_its_own_molecule(tmp_path):
    path = tmp_path / "plain.h5"
    bare = [
        LabelledStructure(s.atomic_numbers, s.positions, energy=s.energy, forces=s.forces) for s in some_structures(5)
    ]
    write_dataset(path, bare)
    dataset = Dataset(path)
    assert not any(dataset.has(name) for name in ("charge", "cell", "molecule_id", "weight", "split", "smiles"))
    assert dataset.molecule_id.tolist() == [0, 1, 2, 3, 4]
    assert dataset.smiles is None
    assert dataset.read([0]).batch.charge is None
    assert not dataset.read([0]).batch.pbc.any()


def test_molecules_and_crystals_share_a_file(tmp_path):
    path = tmp_path / "mixed.h5"
    molecule, crystal = next(some_structures(1)), next(some_structures(1, periodic=True))
    write_dataset(path, [molecule, crystal])
    read = Dataset(path).read([0, 1])
    assert not read.batch.pbc[0].any()
    assert read.batch.pbc[1].tolist() == [True, True, False]
    assert float(read.stress[0].abs().max()) == 0
    np.testing.assert_array_equal(read.stress[1], crystal.stress)
    read.batch.validate_values()


def test_splits_are_found_by_name(path):
    dataset = Dataset(path)
    parts = [dataset.indices(name) for name in ("train", "validation", "test")]
    assert sorted(np.concatenate(parts)) == dataset.indices().tolist() == list(range(40))
    assert all(dataset.structure(int(k)).split == "test" for k in parts[2])
    with pytest.raises(InputError, match="split must be one of train, validation, test, got 'dev'"):
        dataset.indices("dev")


def test_a_set_without_a_split_says_how_to_make_one(tmp_path):
    path = tmp_path / "set.h5"
    write_dataset(path, [replace(s, split=None) for s in some_structures(3)])
    with pytest.raises(InputError, match="mlff data split"):
        Dataset(path).indices("train")


def test_smiles_give_molecule_ids_where_there_are_none(tmp_path):
    path = tmp_path / "set.h5"
    write_dataset(path, [replace(s, molecule_id=None, split=None) for s in some_structures(12)])
    dataset = Dataset(path)
    assert dataset.molecule_id.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert dataset.smiles == ["C", "CC", "CCC"]


def test_geometries_without_labels_are_kept_but_not_read_as_labels(tmp_path):
    path = tmp_path / "set.h5"
    write_dataset(path, [replace(s, energy=None, forces=None, atom_energies=None) for s in some_structures(3)])
    dataset = Dataset(path)
    assert not dataset.is_labelled
    assert dataset.structure(1).energy is None
    with pytest.raises(InputError, match="mlff data label"):
        dataset.read([0])


def test_half_labelled_sets_are_refused(tmp_path):
    structures = list(some_structures(3))
    structures[1] = replace(structures[1], forces=None)
    with pytest.raises(InputError, match="structure 1 has no forces, but others have"):
        write_dataset(tmp_path / "set.h5", structures)
    assert list(tmp_path.iterdir()) == []


def test_the_same_structures_give_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_dataset(tmp_path / name, some_structures(), teacher=TEACHER)
    assert Dataset(tmp_path / "a.h5").sha256() == Dataset(tmp_path / "b.h5").sha256()


def test_a_structure_lies_in_one_place(path):
    with h5py.File(path) as file:
        for name in ("positions", "forces"):
            assert file[name].chunks[1] == 3


def _energy(dataset, k, queue):
    queue.put(float(dataset.read([k]).energy))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_an_open_set_is_read_from_other_processes(path, method):
    dataset = Dataset(path)
    expected = dataset.energy.tolist()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    processes = [context.Process(target=_energy, args=(dataset, k, queue)) for k in (3, 30)]
    for process in processes:
        process.start()
    assert {queue.get(timeout=100) for _ in processes} == {expected[3], expected[30]}
    for process in processes:
        process.join()
    assert pickle.loads(pickle.dumps(dataset)).energy.tolist() == dataset.read(np.arange(40)).energy.tolist()


def spoil(path, name, change):
    with h5py.File(path, "r+") as file:
        if name in file.attrs:
            file.attrs[name] = change
            return
        values, attributes = file[name][:], file[name].dtype
        del file[name]
        file.create_dataset(name, data=change(values), dtype=attributes if name != "energy" else None)


def put(k, value):
    def change(values):
        values[k] = value
        return values

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("format", "something else", "attribute 'format': must be 'mlff-dataset', is 'something else'"),
        ("version", 7, "attribute 'version': must be 1 or 2, is 7"),
        ("energy_unit", "hartree", "attribute 'energy_unit': must be 'eV', is 'hartree'"),
        ("kinds", "[3]", "attribute 'kinds': must be a JSON list"),
        ("offsets", put(4, 0), "data set 'offsets': must rise, but structure 3 has -"),
        ("offsets", put(0, 1), "data set 'offsets': must begin at 0, begins at 1"),
        ("offsets", put(-1, 9999), "data set 'offsets': must end at the number of atoms"),
        ("forces", lambda values: values[:-1], "data set 'forces': must have shape"),
        ("energy", lambda values: values[:-2], r"data set 'energy': must have shape \(40,\), has \(38,\)"),
        ("energy", lambda values: np.ones(40, int), "data set 'energy': must be of a type like float64, is int64"),
        ("kind", put(5, 9), "data set 'kind': holds code 9, but `kinds` names 3"),
        ("molecule_id", put(5, 999), "data set 'molecule_id': points at row 999 of 'smiles', which has 10"),
    ],
)
def test_a_broken_layout_is_refused_when_opened(path, name, change, message):
    spoil(path, name, change)
    with pytest.raises(InputError, match=message):
        Dataset(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("forces", put((30, 1), np.nan), r"data set 'forces': must be finite, but structure \d+ holds \[.*nan"),
        ("energy", put(7, np.inf), r"data set 'energy': must be finite, but structure 7 holds inf"),
        ("positions", put((0, 0), np.nan), "data set 'positions': must be finite, but structure 0"),
        ("atomic_numbers", put(-1, 0), "data set 'atomic_numbers': must lie in 1–118, but structure 39 holds 0"),
        ("weight", put(2, -1), "data set 'weight': must be finite and not negative, but structure 2"),
        (
            "split",
            put(5, 2),
            "data set 'split': all structures of a molecule must be in the same split, but those of molecule 1",
        ),
    ],
)
def test_broken_values_are_refused_by_validate(path, name, change, message):
    spoil(path, name, change)
    with pytest.raises(InputError, match=message):
        Dataset(path).validate()


@pytest.mark.parametrize(("name", "row"), [("energy", 7), ("forces", 30), ("positions", 30), ("weight", 7)])
def test_a_value_that_is_not_finite_is_refused_where_it_is_read_and_only_there(path, name, row):
    spoil(path, name, put(row, np.nan))
    dataset = Dataset(path)
    structure = row if name in ("energy", "weight") else int(np.searchsorted(dataset.offsets, row, side="right")) - 1
    with pytest.raises(InputError, match=f"data set '{name}': must be finite.*, but structure {structure} holds"):
        dataset.read([structure + 1, structure, 0])
    others = [k for k in range(len(dataset)) if k != structure]
    assert len(dataset.read(others).energy) == len(others)
    if name == "energy":
        with pytest.raises(InputError, match=f"but structure {structure} holds nan"):
            dataset.energy_of(np.arange(len(dataset)))


@pytest.mark.parametrize("name", ["offsets", "positions", "kind", "atomic_numbers"])
def test_a_missing_column_is_named(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]
    with pytest.raises(InputError, match=f"data set '{name}': is missing"):
        Dataset(path)


def test_a_file_cut_short_is_refused(path):
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be opened as HDF5"):
        Dataset(path)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no data set file"):
        Dataset(tmp_path / "nothing.h5")


@pytest.mark.parametrize("indices", [[], [40], [-1], [0.5], [[1]]])
def test_impossible_indices_are_refused(path, indices):
    with pytest.raises(InputError, match=r"indices must be|has structures 0 to 39"):
        Dataset(path).read(indices)


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="kind 'md' is not among the data set's kinds: minimum, rattle"):
        write_dataset(tmp_path / "set.h5", some_structures(), kinds=["minimum", "rattle"])


def test_a_foreign_file_of_the_layout_is_read(tmp_path):
    """Made by h5py alone, with chunks and types of its own."""
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(
            format="mlff-dataset", version=1, length_unit="Angstrom", energy_unit="eV", kinds=json.dumps(["given"])
        )
        file["offsets"] = np.array([0, 1, 3])
        file["atomic_numbers"] = np.array([2, 1, 1], dtype=np.int64)
        file["positions"] = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 0.74]])
        file["energy"] = np.array([0.0, -31.7])
        file["forces"] = np.zeros((3, 3))
        file["kind"] = np.zeros(2, np.int64)
    dataset = Dataset(path)
    dataset.validate()
    assert dataset.read([1]).batch.atomic_numbers.tolist() == [1, 1]


def test_structures_become_one_batch():
    structures = list(some_structures(4))
    batch = batch_from_structures(structures)
    batch.validate_values()
    assert batch.n_systems == 4
    assert batch.charge.tolist() == [-1, 0, 1, -1]
    assert batch_from_structures([replace(s, charge=0, spin_multiplicity=1) for s in structures]).charge is None


def test_a_misshapen_structure_is_refused():
    with pytest.raises(InputError, match=r"forces of a structure must have shape \(2, 3\), got \(3, 3\)"):
        LabelledStructure(np.array([1, 1]), np.zeros((2, 3)), forces=np.zeros((3, 3)))
