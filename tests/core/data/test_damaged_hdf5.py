"""Damaged and hostile data set files: one of our errors, never another, and no other file is read.

Over 300 lines, in one file because the ways to damage a file are one list.
"""

import shutil
import tracemalloc
import warnings

import h5py
import numpy as np
import pytest

from mlff_core.data.convert import convert
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.summary import summarize
from mlff_core.errors import InputError

N_STRUCTURES = 12
COLUMNS = [
    "offsets",
    "atomic_numbers",
    "positions",
    "energy",
    "forces",
    "charge",
    "molecule_id",
    "kind",
    "split",
    "cell",
    "pbc",
    "stress",
    "spin_multiplicity",
    "weight",
    "atom_energies",
    "smiles",
    "hessian",
    "hessian/structure",
    "hessian/offsets",
    "hessian/direction",
    "hessian/product",
]
ATTRIBUTES = ("format", "version", "length_unit", "energy_unit", "teacher", "created", "license", "kinds")


def structures():
    rng = np.random.default_rng(5)
    for k in range(N_STRUCTURES):
        n_atoms = 2 + k % 4
        yield LabelledStructure(
            atomic_numbers=rng.choice([1, 6, 8], n_atoms).astype(np.uint8),
            positions=rng.normal(size=(n_atoms, 3)).astype(np.float32) * 3,
            energy=float(rng.normal()),
            forces=rng.normal(size=(n_atoms, 3)).astype(np.float32),
            cell=9 * np.eye(3),
            pbc=np.array([True, True, k % 2 == 0]),
            stress=np.eye(3, dtype=np.float32),
            charge=k % 2,
            spin_multiplicity=1 + k % 2,
            weight=1.0 + k,
            atom_energies=rng.normal(size=n_atoms).astype(np.float32),
            hessian_direction=rng.normal(size=(1, n_atoms, 3)).astype(np.float32),
            hessian_product=rng.normal(size=(1, n_atoms, 3)).astype(np.float32),
            molecule_id=k // 4,
            kind=["md", "rattle"][k % 2],
            smiles=["C", "CC", "CCC"][k // 4],
            split=["train", "validation", "test"][k // 4],
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    write_dataset(path, structures(), teacher={"name": "t"}, created={"command": "a test"}, license="CC0")
    return path


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copyfile(whole, tmp_path / "set.h5")


def use(path):
    """Use a set as commands and training do."""
    with Dataset(path) as dataset:
        list(dataset.structures())
        dataset.read(np.arange(len(dataset)))
        dataset.structure(len(dataset) - 1)
        for name in ("train", "validation", "test"):
            dataset.indices(name)
        _ = dataset.elements, dataset.teacher, dataset.created, dataset.license, dataset.smiles, dataset.energy
        _ = dataset.hessian_rows_per_structure, dataset.molecule_id
        dataset.validate()
    summarize(path)
    convert(path, path.with_suffix(".extxyz"))


def replaced(file, name, value, **how):
    del file[name]
    file.create_dataset(name, data=value, **how)


def absurd(rng):
    return [0, -1, 9, 255, 2**31 - 1, -(2**31), 2**62, -(2**63), np.nan, np.inf, 1e300][rng.integers(11)]


def cast(value, dtype):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(value, dtype=np.float64).astype(dtype)


def damage(file, rng):
    """Change an open file in one of many ways, and return a description of the change."""
    name = COLUMNS[rng.integers(len(COLUMNS))]
    way = rng.integers(13)
    if way == 0:
        del file[name]
    elif way == 1:
        del file[name]
        file.create_group(name)
    elif way == 2:
        del file[name]
        file[name] = [h5py.SoftLink("/nowhere"), h5py.SoftLink("/energy"), h5py.ExternalLink("set.h5", "/energy")][
            rng.integers(3)
        ]
    elif way == 3:
        attribute = ATTRIBUTES[rng.integers(len(ATTRIBUTES))]
        odd = ["", "{", "[" * 50_000, "[1, 2]", "null", 7, np.arange(3), 2.5, np.bytes_(b"x\xff"), "NaN"]
        file.attrs[attribute] = odd[rng.integers(len(odd))]
        return f"attribute {attribute}"
    elif way == 4:
        del file.attrs[ATTRIBUTES[rng.integers(len(ATTRIBUTES))]]
    elif name in ("hessian", "smiles"):
        del file[name]
        file[name] = [np.arange(3), "text", np.float64(1), h5py.Empty("f4"), np.array([b"\xff\xfe"] * 3)][
            rng.integers(5)
        ]
    elif way in (5, 6, 7):  # a value
        values = file[name][:]
        flat = values.reshape(-1)
        flat[rng.integers(len(flat))] = cast(absurd(rng), values.dtype)
        file[name][:] = values
    elif way == 8:
        values = file[name][:]
        replaced(file, name, values[: rng.integers(len(values))])
    elif way == 9:
        replaced(file, name, cast(file[name][:], ["f8", "i8", "u1", "?", "i2", "f2"][rng.integers(6)]))
    elif way == 10:
        odd = [np.float64(3), h5py.Empty("f8"), "text", np.zeros((2, 2, 2, 2)), np.zeros(3, dtype=[("a", "f4")]), 1j]
        replaced(file, name, odd[rng.integers(len(odd))])
    elif way == 11:  # counts without data
        shape = file[name].shape
        dtype = file[name].dtype
        del file[name]
        file.create_dataset(name, shape=(10 ** int(rng.integers(7, 14)), *shape[1:]), dtype=dtype, chunks=True)
    else:
        values = file[name][:]
        how = [{"scaleoffset": 2}, {"fletcher32": True}, {"compression": "lzf"}, {"chunks": values.shape}][
            rng.integers(4)
        ]
        if values.dtype.kind in "iuf":
            replaced(file, name, values, **how)
    return f"{way} {name}"


def test_the_whole_file_is_read(path):
    use(path)


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_file_is_refused_in_one_line_or_read(whole, tmp_path, seed):
    rng = np.random.default_rng(seed)
    messages = []
    for _ in range(80):
        path = shutil.copyfile(whole, tmp_path / "set.h5")
        with h5py.File(path, "r+") as file:
            done = damage(file, rng)
        try:
            use(path)
        except InputError as error:
            messages.append(str(error))
        except Exception as error:
            raise AssertionError(f"{done} gave {type(error).__name__}: {str(error)[:300]}") from error
    assert 50 < len(messages) < 80
    assert max(map(len, messages)) < 600
    assert all(str(tmp_path / "set.h5") in message for message in messages)


def test_flipped_bytes_are_refused_in_one_line_or_read(whole, tmp_path):
    rng = np.random.default_rng(6)
    content, path, messages = whole.read_bytes(), tmp_path / "set.h5", []
    for k in range(60):
        flipped = bytearray(content)
        for place in rng.integers(len(content), size=1 + k % 4):
            flipped[place] = rng.integers(256)
        path.write_bytes(flipped[: rng.integers(len(content)) if k % 10 == 9 else None])
        try:
            with Dataset(path) as dataset:
                list(dataset.structures())
                dataset.validate()
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all(str(path) in message for message in messages)


def link_to_another_file(file):
    del file["energy"]
    file["energy"] = h5py.ExternalLink("secret.h5", "/energy")


def link_within_the_file(file):
    del file["forces"]
    file["forces"] = h5py.SoftLink("/positions")


def values_in_another_file(file):
    del file["energy"]
    file.create_dataset("energy", (N_STRUCTURES,), "f8", external=[("secret.raw", 0, 8 * N_STRUCTURES)])


def values_computed_from_another_file(file):
    del file["energy"]
    layout = h5py.VirtualLayout((N_STRUCTURES,), "f8")
    layout[:] = h5py.VirtualSource("secret.h5", "energy", (N_STRUCTURES,))
    file.create_virtual_dataset("energy", layout)


def a_group_for_a_column(file):
    del file["positions"]
    file.create_group("positions")


def a_column_for_a_group(file):
    del file["hessian"]
    file["hessian"] = np.arange(3)


def a_filter_that_inflates(file):
    values = file["kind"][:]
    replaced(file, "kind", values, scaleoffset=0)


def a_thousand_billion_structures(file):
    del file["offsets"]
    file.create_dataset("offsets", (10**12,), "i8", chunks=(4096,))


def a_thousand_billion_atoms(file):
    for name in ("positions", "forces"):
        del file[name]
        file.create_dataset(name, (10**12, 3), "f4", chunks=(4096, 3))


def a_chunk_of_a_gigabyte(file):
    del file["energy"]
    file.create_dataset("energy", (N_STRUCTURES,), "f8", maxshape=(None,), chunks=(1 << 27,), compression="gzip")


def a_teacher_that_is_no_json(file):
    file.attrs["teacher"] = "SO3LR"


def deeply_nested_kinds(file):
    file.attrs["kinds"] = "[" * 50_000


def a_split_of_nine(file):
    file["split"][3] = 9


def a_negative_molecule(file):
    file["molecule_id"][3] = -1


def a_negative_kind(file):
    replaced(file, "kind", np.where(np.arange(N_STRUCTURES) == 5, -1, 0))


def smiles_that_are_numbers(file):
    replaced(file, "smiles", np.arange(3))


def smiles_that_are_no_text(file):
    replaced(file, "smiles", np.array([b"\xff\xfe", b"C", b"C"], dtype=object), dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link_to_another_file, "'energy' is a link, which a data set must not hold"),
        (link_within_the_file, "'forces' is a link"),
        (values_in_another_file, "data set 'energy': its values are in other files"),
        (values_computed_from_another_file, "data set 'energy': its values are in other files"),
        (a_group_for_a_column, "'positions' must be an HDF5 dataset, is Group"),
        (a_column_for_a_group, "'hessian' must be an HDF5 group, is Dataset"),
        (a_filter_that_inflates, "data set 'kind': its filters must be among gzip, shuffle, fletcher32, lzf"),
        (a_thousand_billion_structures, r"'offsets': has shape \(1000000000000,\), but only 0 bytes"),
        (a_thousand_billion_atoms, r"'positions': has shape \(1000000000000, 3\), but only 0 bytes"),
        (a_chunk_of_a_gigabyte, "data set 'energy': its chunks must be smaller than 256 MiB"),
        (a_teacher_that_is_no_json, "attribute 'teacher': must be JSON, is 'SO3LR'"),
        (deeply_nested_kinds, "attribute 'kinds': must be JSON"),
        (a_split_of_nine, "data set 'split': must be 0 train, 1 validation or 2 test, but structure 3 holds 9"),
        (a_negative_molecule, "data set 'molecule_id': points at row -1 of 'smiles'"),
        (a_negative_kind, "data set 'kind': holds code -1"),
        (smiles_that_are_numbers, "data set 'smiles': must be text"),
        (smiles_that_are_no_text, "data set 'smiles': cannot be read"),
    ],
)
def test_what_a_set_must_not_hold_is_named(path, change, message):
    (path.parent / "secret.raw").write_bytes(b"\0" * 8 * N_STRUCTURES)
    shutil.copyfile(path, path.parent / "secret.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message):
            use(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
