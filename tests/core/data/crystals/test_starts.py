"""Lists of crystals, CIF files, and splits by composition."""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal

from mlff_core.config import from_dict, read_toml
from mlff_core.data.crystals import PROTOTYPES, parse
from mlff_core.data.generate import generate
from mlff_core.data.hdf5 import Dataset
from mlff_core.data.recipe import GenerateConfig, Kinds
from mlff_core.data.sampling import Cell, Cluster, Descent, GfnffMd, Lattice, Vacancy
from mlff_core.data.sampling.crystal.supercell import nearest_distance
from mlff_core.data.sources import open_source
from mlff_core.data.split import composition_groups, split_dataset
from mlff_core.errors import InputError

OFF = {"md": GfnffMd(enabled=False), "cluster": Cluster(enabled=False), "descent": Descent(enabled=False)}
CONFIG = GenerateConfig(
    kinds=Kinds(**OFF, cell=Cell(enabled=False), lattice=Lattice(enabled=True, n=3), vacancy=Vacancy(enabled=True, n=2))
)
LIST = """# metals
Cu fcc 3.61
Cu3Au fcc 3.75  # a random solution

Cu3Au L1_2 3.75
Au fcc 4.08
Mg hcp 3.21 5.21
"""


@pytest.fixture
def metals(tmp_path):
    path = tmp_path / "metals.crystals"
    path.write_text(LIST)
    return path


def atoms(line, seed=0):
    return parse(line).atoms(np.random.default_rng(seed))


def start_of(path, k=0, n=1):
    return open_source(path, path.parent).starts(k, n, 5)


@pytest.mark.parametrize(
    ("line", "n_atoms", "distance"),
    [
        ("Cu fcc 3.61", 4, 3.61 / 2**0.5),
        ("Fe bcc 2.87", 2, 2.87 * 3**0.5 / 2),
        ("Po sc 3.36", 1, 3.36),
        ("Si diamond 5.43", 8, 5.43 * 3**0.5 / 4),
        ("Mg hcp 3.21 5.21", 2, (3.21**2 / 3 + 5.21**2 / 4) ** 0.5),
        ("NaCl rocksalt 5.64", 2, 2.82),
        ("CuZn cesiumchloride 2.95", 2, 2.95 * 3**0.5 / 2),
        ("GaAs zincblende 5.65", 2, 5.65 * 3**0.5 / 4),
        ("CaF2 fluorite 5.46", 3, 5.46 * 3**0.5 / 4),
        ("ZnO wurtzite 3.25 5.2", 4, None),
        ("Cu3Au L1_2 3.75", 4, 3.75 / 2**0.5),
        ("CuAu L1_0 3.96 3.67", 4, (3.96**2 + 3.67**2) ** 0.5 / 2),
    ],
)
def test_each_prototype_has_its_atoms_and_its_nearest_distance(metals, line, n_atoms, distance):
    metals.write_text(line)
    (start,) = start_of(metals)
    assert start.n_atoms == n_atoms
    assert line.split()[1] in PROTOTYPES
    if distance is not None:
        assert nearest_distance(start) == pytest.approx(distance, rel=1e-5)


def test_ordered_alloys_have_unlike_neighbours():
    ordered = atoms("Cu3Au L1_2 3.75").repeat(3)
    assert str(ordered.symbols.formula) == "AuCu3" or ordered.symbols.formula.count() == {"Au": 27, "Cu": 81}
    distances = ordered.get_all_distances(mic=True)
    gold = ordered.symbols == "Au"
    assert distances[np.ix_(gold, gold)][distances[np.ix_(gold, gold)] > 0].min() == pytest.approx(3.75)
    layered = atoms("CuAu L1_0 3.96 3.67")
    assert layered.cell.lengths() == pytest.approx([3.96, 3.96, 3.67])
    for symbol, height in (("Au", 0.0), ("Cu", 3.67 / 2)):
        assert layered.positions[layered.symbols == symbol, 2] == pytest.approx(height)


def test_a_random_solution_has_its_composition_and_an_arrangement_for_each_conformer(metals):
    made = start_of(metals, k=1, n=4)
    assert [m.n_atoms for m in made] == [8] * 4
    assert all((m.atomic_numbers == 79).sum() == 2 for m in made)
    assert len({m.atomic_numbers.tobytes() for m in made}) > 1
    assert len(start_of(metals, k=0, n=4)) == 1
    assert len(start_of(metals, k=2, n=4)) == 1
    again = start_of(metals, k=1, n=4)
    assert all((a.atomic_numbers == b.atomic_numbers).all() for a, b in zip(made, again, strict=True))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Cu fcc", "one or two lattice constants"),
        ("Cu fcc wide", "one or two lattice constants"),
        ("Cu fcc 3.6 3.6", "one lattice constant"),
        ("Cu fcc -3", "0.5…100"),
        ("Xx fcc 3.6", "no formula"),
        ("Cu spinel 8.0", "no prototype 'spinel'"),
        ("Cu2Au L1_2 3.75", "3 to 1"),
        ("Na rocksalt 5.6", "two elements"),
        ("NaCl2 rocksalt 5.6", "no rocksalt"),
        ("Cu37Au64 fcc 3.8", "simplify"),
    ],
)
def test_a_bad_line_is_refused_with_the_reason(line, message):
    with pytest.raises(InputError, match=message):
        atoms(line)


def test_a_bad_line_is_a_named_skip_and_the_others_are_made(metals, tmp_path):
    metals.write_text(LIST + "Cu spinel 8.0\n")
    config = GenerateConfig(kinds=CONFIG.kinds, max_failed_share=0.5)
    report = generate(metals, tmp_path / "out.h5", config)
    assert report.n_failed_inputs == 1
    assert "metals.crystals:8" in report.skipped.read_text()
    with Dataset(tmp_path / "out.h5") as dataset:
        dataset.validate()
        assert {dataset.kinds[code] for code in dataset.kind} == {"minimum", "lattice", "vacancy"}
        assert sorted(set(dataset.molecule_id.tolist())) == [0, 1, 2, 3, 4]


def test_a_cif_is_a_start_and_a_partially_occupied_one_is_refused(tmp_path):
    rutile = crystal(
        ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90]
    )
    ase.io.write(tmp_path / "rutile.cif", rutile)
    generate(tmp_path / "rutile.cif", tmp_path / "out.h5", CONFIG)
    with Dataset(tmp_path / "out.h5") as dataset:
        first = dataset.structure(0)
        assert (first.n_atoms, first.atomic_numbers.tolist().count(22)) == (6, 2)
        np.testing.assert_allclose(np.linalg.norm(first.cell, axis=1), [4.59, 4.59, 2.96], atol=1e-6)
        assert len(dataset) == 6
    mixed = (tmp_path / "rutile.cif").read_text().replace("0.0  0.0  0.0  1.0000", "0.0  0.0  0.0  0.5000")
    (tmp_path / "mixed.cif").write_text(mixed)
    with pytest.raises(InputError, match=r"partially occupied site \(0.5 Ti\)"):
        open_source(tmp_path / "mixed.cif", tmp_path)


def test_a_split_by_composition_keeps_lattices_and_defects_of_an_alloy_together(metals, tmp_path):
    generate(metals, tmp_path / "out.h5", CONFIG)
    for by in ("composition", "elements"):
        parts = split_dataset(tmp_path / "out.h5", tmp_path / f"{by}.h5", by=by, validation=0.2, test=0.2, seed=1)
        assert all(count > 0 for count in parts.values())
        with Dataset(tmp_path / f"{by}.h5") as dataset:
            dataset.validate()
            alloys = np.isin(dataset.molecule_id, [1, 2])
            assert len(set(dataset.split[alloys].tolist())) == 1


def test_groups_by_composition_and_by_elements():
    copper, ordered, half = [29] * 4, [29, 29, 29, 79], [29, 79]
    molecules = np.array([0, 0, 1, 1, 1, 2, 3])
    numbers = [copper, copper[:3], ordered, ordered * 2, [29, 29, 79], half, half * 4]
    numbers = [np.array(n) for n in numbers]
    composition = composition_groups(molecules, numbers, "composition")
    assert composition.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert composition_groups(molecules, numbers, "elements").tolist() == [0, 0, 1, 1, 1, 1, 1]


def test_the_list_is_read_as_the_same_crystals_as_ase_builds(metals):
    (start,) = start_of(metals, k=3)
    built = bulk("Au", "fcc", 4.08, cubic=True)
    np.testing.assert_allclose(start.positions, built.positions, atol=1e-6)
    np.testing.assert_allclose(start.cell, built.cell.array)


def test_the_recipe_of_the_metals_is_what_its_script_writes_and_every_line_is_a_crystal():
    folder = Path(__file__).parents[4] / "examples" / "train" / "metals"
    written = subprocess.run([sys.executable, folder / "starts.py"], capture_output=True, text=True, check=True).stdout
    assert (folder / "metals.crystals").read_text() == written
    settings = from_dict(GenerateConfig, read_toml(folder / "metals.toml"))
    kinds = {strategy.kind for strategy in settings.kinds.enabled()}
    assert {"lattice", "thermal", "exchange", "vacancy", "surface", "packing"} <= kinds
    assert not {"md", "cluster", "cell", "descent"} & kinds
    melts = from_dict(GenerateConfig, read_toml(folder / "melts.toml"))
    assert {strategy.kind for strategy in melts.kinds.enabled() if strategy.crystals} == {"melt"}
    for line in written.splitlines():
        start = atoms(line)
        # Nearest neighbours as far apart as in the elements.
        assert 2.3 < start.repeat(2).get_all_distances(mic=True)[0, 1:].min() < 3.1, line
