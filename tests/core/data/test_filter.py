"""Filters, errors of merge, and two atoms at the same place."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from mlff_core.cli.main import cli
from mlff_core.data.filter import Filter, filter_dataset
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.merge import merge
from mlff_core.errors import InputError

WATER = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], dtype=np.float32)


def structures():
    for k in range(20):
        numbers = [[8, 1, 1], [16, 1, 1]][k % 2]
        yield LabelledStructure(
            atomic_numbers=np.array(numbers, dtype=np.uint8),
            positions=WATER + np.float32(k / 100),
            energy=float(-100 * numbers[0] + k / 10),
            forces=np.full((3, 3), k, dtype=np.float32) * np.array([[-1], [0.5], [0.5]], dtype=np.float32),
            charge=-1 if k % 5 == 0 else 0,
            spin_multiplicity=2 if k % 5 == 0 else 1,
            kind=["md", "rattle"][k // 10],
            molecule_id=k % 2,
            smiles=["O", "S"][k % 2],
            split=["train", "test"][k % 2],
        )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "set.h5"
    write_dataset(path, structures(), teacher={"name": "t"}, license="CC0")
    return path


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (Filter(charge=0), [k for k in range(20) if k % 5]),
        (Filter(charge=-1), [0, 5, 10, 15]),
        (Filter(spin_multiplicity=1), [k for k in range(20) if k % 5]),
        (Filter(elements=(1, 8)), list(range(0, 20, 2))),
        (Filter(max_force=4.0), [0, 1, 2, 3, 4]),
        (Filter(kinds=("rattle",)), list(range(10, 20))),
        # The lowest energies: structure 2 of the neutral waters, 1 of the neutral H2S, 0 and 5 of the ions.
        (Filter(energy_window=0.45), [0, 1, 2, 3, 4, 5, 6]),
        (Filter(charge=0, elements=(1, 16), max_force=8.0, kinds=("md",)), [1, 3, 7]),
    ],
)
def test_structures_that_keep_the_rules_stay_with_all_their_labels(path, tmp_path, rules, kept):
    made = filter_dataset(path, tmp_path / "out.h5", rules)
    assert (made.n_structures, made.n_before, sum(made.left_out.values())) == (len(kept), 20, 20 - len(kept))
    before = list(structures())
    with Dataset(tmp_path / "out.h5") as dataset:
        dataset.validate()
        assert (dataset.teacher, dataset.license) == ({"name": "t"}, "CC0")
        for structure, k in zip(dataset.structures(), kept, strict=True):
            assert structure.energy == before[k].energy
            np.testing.assert_array_equal(structure.forces, before[k].forces)
            for name in ("charge", "spin_multiplicity", "kind", "smiles", "split"):
                assert getattr(structure, name) == getattr(before[k], name)


def test_rules_without_a_meaning_are_refused(path, tmp_path):
    out = tmp_path / "out.h5"
    with pytest.raises(InputError, match="at least one rule is needed to filter"):
        Filter()
    with pytest.raises(InputError, match="max_force must be above 0, got nan"):
        Filter(max_force=float("nan"))
    with pytest.raises(InputError, match="has no kind dimer; its kinds are md, rattle"):
        filter_dataset(path, out, Filter(kinds=("dimer",)))
    with pytest.raises(InputError, match=r"no structure of .*set.h5 satisfies the rules \(charge 20\)"):
        filter_dataset(path, out, Filter(charge=3))
    with pytest.raises(InputError, match="is the set to filter"):
        filter_dataset(path, path, Filter(charge=0))
    write_dataset(tmp_path / "bare.h5", [replace(s, energy=None, forces=None) for s in structures()])
    with pytest.raises(InputError, match="max_force needs the labels 'forces'"):
        filter_dataset(tmp_path / "bare.h5", out, Filter(max_force=3.0))
    assert not out.exists()


def test_the_command_filters_and_counts(path, tmp_path):
    command = ["data", "filter", str(path), str(tmp_path / "out.h5"), "--charge", "0", "--elements", "H,O"]
    done = CliRunner().invoke(cli, command)
    assert done.stdout.splitlines() == [
        f"{tmp_path / 'out.h5'}: 8 of 20 structures, labelled with energy 8, forces 8",
        "  left out, charge: 4",
        "  left out, elements: 8",
    ]
    assert json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)["labels"] == {"energy": 8, "forces": 8}
    assert "wanted symbols such as H,C,N,O" in CliRunner().invoke(cli, [*command, "--elements", "H,Q"]).stderr


def test_a_set_is_not_merged_with_itself_nor_over_itself(path, tmp_path):
    (tmp_path / "link.h5").symlink_to(path)
    for other in (path, path.parent / ".." / path.parent.name / path.name, tmp_path / "link.h5"):
        with pytest.raises(InputError, match="are the same set, whose structures would count twice"):
            merge([path, other], tmp_path / "out.h5")
    filter_dataset(path, tmp_path / "a.h5", Filter(charge=0))
    filter_dataset(path, tmp_path / "b.h5", Filter(charge=-1))
    with pytest.raises(InputError, match=r"a.h5 is one of the sets to merge and would be lost"):
        merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "a.h5")
    assert merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "out.h5") == 20


def test_two_atoms_at_one_place_are_named(tmp_path):
    good = list(structures())
    positions = WATER.copy()
    positions[2] = positions[0] + np.float32(0.05)
    write_dataset(tmp_path / "bad.h5", [*good[:7], replace(good[7], positions=positions), *good[8:]])
    with pytest.raises(InputError, match=r"must not be at the same place, but atoms 0 and 2 of structure 7 are"):
        Dataset(tmp_path / "bad.h5").validate()


def test_a_large_structure_without_positions_costs_no_memory(tmp_path):
    n_atoms = 50_000
    write_dataset(tmp_path / "bad.h5", [LabelledStructure(np.full(n_atoms, 6), np.zeros((n_atoms, 3)))])
    with pytest.raises(InputError, match=r"must not be at the same place, but atoms \d+ and \d+ of structure 0"):
        Dataset(tmp_path / "bad.h5").validate()


@pytest.mark.parametrize("pbc", [[True, True, True], [True, True, False], [False, False, True]])
def test_images_at_one_place_are_named_and_others_are_not(tmp_path, pbc):
    cell = np.array([[4.0, 0, 0], [1.0, 5, 0], [0.5, -0.7, 6]])
    pbc = np.array(pbc)
    axis = int(np.flatnonzero(pbc)[-1])

    def crystal(second):
        places = np.array([[0.1, 0.2, -0.1], second, [2.0, 2.0, 2.0]], dtype=np.float32)
        return LabelledStructure(np.array([8, 8, 8]), places, cell=cell, pbc=pbc)

    first = np.array([0.1, 0.2, -0.1])
    bad = crystal(first + 3 * cell[axis] + [0.03, -0.03, 0.03])
    good = crystal(first + 2.5 * cell[axis] + [0.03, 0.03, 0.03])
    write_dataset(tmp_path / "good.h5", [good])
    Dataset(tmp_path / "good.h5").validate()
    write_dataset(tmp_path / "bad.h5", [good, bad])
    with pytest.raises(InputError, match=r"atoms 0 and 1 of structure 1 are less than 0.1 Å apart"):
        Dataset(tmp_path / "bad.h5").validate()
