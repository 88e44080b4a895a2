"""Labels are found under the names in files, in the right units and signs, or reported as not used."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from click.testing import CliRunner

from mlff_core.cli.main import cli
from mlff_core.data.convert import convert
from mlff_core.data.hdf5 import Dataset
from mlff_core.data.labels import LabelKeys, Labels
from mlff_core.errors import InputError

FORCES = np.arange(9.0).reshape(3, 3) / 10
STRESS = np.array([[0.01, 0.002, -0.003], [0.002, 0.02, 0.004], [-0.003, 0.004, -0.03]])


def water(info=None, arrays=None, cell=None):
    atoms = molecule("H2O")
    if cell is not None:
        atoms.set_cell(cell)
        atoms.pbc = True
    atoms.info.update(info or {})
    for name, value in (arrays or {}).items():
        atoms.set_array(name, value)
    return atoms


def converted(folder, atoms, labels=None):
    ase.io.write(folder / "in.extxyz", atoms)
    convert(folder / "in.extxyz", folder / "out.h5", labels=labels)
    return Dataset(folder / "out.h5")


@pytest.mark.parametrize(
    ("energy", "forces"),
    [
        ("REF_energy", "REF_forces"),
        ("ref_energy", "ref_force"),
        ("dft_energy", "dft_forces"),
        ("DFT_energy", "DFT_force"),
        ("free_energy", "force"),
        ("energy", "forces"),
        ("Energy", "Forces"),
    ],
)
def test_well_known_names_are_found(tmp_path, energy, forces):
    dataset = converted(tmp_path, [water({energy: -12.5}, {forces: FORCES}), water({energy: -11.5}, {forces: -FORCES})])
    assert dataset.is_labelled
    assert dataset.energy.tolist() == [-12.5, -11.5]
    np.testing.assert_allclose(dataset.structure(1).forces, -FORCES, atol=1e-6)


def test_names_that_are_given_are_taken(tmp_path):
    atoms = water({"E_pbe0": -3.0, "energy": -1.0, "S": STRESS}, {"F": FORCES, "forces": 2 * FORCES}, 10 * np.eye(3))
    dataset = converted(tmp_path, [atoms], Labels(LabelKeys(energy="E_pbe0", forces="F", stress="S")))
    assert dataset.energy.tolist() == [-3.0]
    np.testing.assert_allclose(dataset.structure(0).forces, FORCES, atol=1e-6)
    np.testing.assert_allclose(dataset.structure(0).stress, STRESS, atol=1e-6)
    with pytest.raises(
        InputError, match=r"frame 0: there is no energy 'E_pbe'; there are E_pbe0, F, S, energy, forces"
    ):
        converted(tmp_path, [atoms], Labels(LabelKeys(energy="E_pbe")))


def test_an_energy_alone_is_kept_and_so_are_forces_alone(tmp_path):
    dataset = converted(tmp_path, [water({"energy": -2.0})])
    assert (dataset.structure(0).energy, dataset.is_labelled) == (-2.0, False)
    dataset = converted(tmp_path, [water(arrays={"forces": FORCES})])
    np.testing.assert_allclose(dataset.structure(0).forces, FORCES, atol=1e-6)
    convert(tmp_path / "out.h5", tmp_path / "again.extxyz")
    np.testing.assert_allclose(ase.io.read(tmp_path / "again.extxyz").get_forces(), FORCES, atol=1e-6)


def test_two_labels_of_one_name_that_differ_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"energy and REF_energy must be the same, but differ by up to 1; name .* --energy-key"
    ):
        converted(tmp_path, [water({"energy": -2.0, "REF_energy": -3.0})])
    labels = Labels()
    dataset = converted(tmp_path, [water({"energy": -2.0, "REF_energy": -2.0, "free_energy": -2.1})], labels)
    assert dataset.energy.tolist() == [-2.0]
    assert labels.not_taken == {"free_energy": 1}


@pytest.mark.parametrize("name", ["virial", "virials", "REF_virial"])
def test_a_virial_is_minus_the_volume_times_the_stress(tmp_path, name):
    """The virial as QUIP defines it is −dE/dε, here by central differences of the energy of strained argon."""
    atoms = bulk("Ar", "fcc", 5.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell @ np.array([[1, 0.03, 0], [0.02, 1.01, 0], [0, 0.04, 0.98]]), scale_atoms=True)

    def energy(strain):
        strained = atoms.copy()
        strained.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        strained.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=8.0)
        return strained.get_potential_energy()

    virial = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            step = np.zeros((3, 3))
            step[i, j] = 1e-4
            step = (step + step.T) / 2
            virial[i, j] = -(energy(step) - energy(-step)) / 2e-4
    calculator = LennardJones(sigma=3.4, epsilon=0.01, rc=8.0)
    stress = calculator.get_stress(atoms)
    assert np.abs(stress).max() > 1e-4  # large enough to see its sign
    atoms.calc = None
    atoms.info.update({"energy": energy(np.zeros((3, 3))), name: virial})
    dataset = converted(tmp_path, [atoms])
    np.testing.assert_allclose(dataset.structure(0).stress.reshape(-1)[[0, 4, 8, 5, 2, 1]], stress, atol=2e-6)


@pytest.mark.parametrize("stress", [STRESS, STRESS.reshape(9), STRESS.reshape(9)[[0, 4, 8, 5, 2, 1]]])
def test_a_stress_of_six_or_nine_numbers_or_three_rows_is_the_same(tmp_path, stress):
    dataset = converted(tmp_path, [water({"energy": 0.0, "REF_stress": stress}, cell=9 * np.eye(3))])
    np.testing.assert_allclose(dataset.structure(0).stress, STRESS, atol=1e-7)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"REF_stress": STRESS + np.triu(STRESS, 1)}, "REF_stress must be symmetric"),
        ({"REF_stress": np.ones(4)}, "REF_stress must be 6 numbers"),
        ({"stress": STRESS, "virial": 100 * STRESS}, "stress and −virial/volume must be the same"),
        ({"charge": 1.5}, "charge must be a whole number, got 1.5"),
        ({"total_charge": 1, "charge": 0}, "atoms.info has charge = 0 and total_charge = 1, which mean the same"),
        ({"spin": 1}, r"atoms.info\['spin'\] = 1 may mean S, 2S or 2S \+ 1"),
        ({"spin_multiplicity": 1.9}, "spin_multiplicity must be a whole number, got 1.9"),
        ({"REF_energy": "low"}, "could not convert string to float: 'low'"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(tmp_path, info, message):
    with pytest.raises(InputError, match=message):
        converted(tmp_path, [water(info, cell=9 * np.eye(3))])


def test_masked_and_complex_labels_are_refused(tmp_path):
    for value, message in (
        (np.ma.masked_less(FORCES, 0.3), "3 masked entries"),
        (FORCES + 0.1j, "must be real numbers"),
    ):
        atoms = molecule("H2O")
        atoms.calc = SinglePointCalculator(atoms, energy=0.0)
        atoms.calc.results["forces"] = value
        with pytest.raises(InputError, match=f"forces .*{message}"):
            Labels().of(atoms, set())


def test_the_command_says_what_is_labelled_and_what_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = [water({"REF_energy": k, "config_type": "bulk"}, {"REF_forces": FORCES}, 9 * np.eye(3)) for k in range(3)]
    for frame in frames[:2]:
        frame.info["dipole_moment"] = 1.0
    ase.io.write("in.extxyz", frames)
    done = CliRunner().invoke(cli, ["data", "convert", "in.extxyz", "out.h5"])
    assert done.stdout == "out.h5: 3 structures, labelled with energy 3, forces 3\n"
    assert (
        done.stderr
        == "  not converted: config_type, in 3 structures\n  not converted: dipole_moment, in 2 structures\n"
    )
    back = CliRunner().invoke(cli, ["data", "convert", "out.h5", "back.extxyz"])
    assert back.stdout == "back.extxyz: 3 structures, labelled with energy 3, forces 3\n"
    ase.io.write("bare.extxyz", molecule("H2O"))
    done = CliRunner().invoke(cli, ["data", "convert", "bare.extxyz", "bare.h5"])
    assert done.stdout == "bare.h5: 1 structures, not labelled\n"
    done = CliRunner().invoke(cli, ["data", "convert", "out.h5", "back.extxyz", "--energy-key", "E"])
    assert (done.exit_code, "names of labels apply to structure files only" in done.stderr) == (1, True)


def test_a_structure_far_from_the_origin_keeps_its_shape(tmp_path):
    near = molecule("CH3CH2OH")
    far = near.copy()
    far.positions += [3000.0, -1e6, 12.0]
    dataset = converted(tmp_path, [near, far])
    np.testing.assert_array_equal(dataset.structure(0).positions, near.positions.astype(np.float32))
    moved = dataset.structure(1).positions.astype(np.float64)
    difference = moved - moved[0] - (far.positions - far.positions[0])
    assert np.abs(difference).max() < 1e-6
    crystal = bulk("Ar", "fcc", 5.0, cubic=True)
    crystal.set_cell(crystal.cell @ np.array([[1, 0.2, 0], [0, 1, 0.1], [0, 0, 1]]), scale_atoms=True)
    shifted = crystal.copy()
    shifted.positions += 700 * crystal.cell[0] - np.array([[0], [3], [40], [500]]) * crystal.cell[2]
    shifted.pbc = crystal.pbc = [True, True, True]
    kept = converted(tmp_path, [shifted]).structure(0)
    along = np.linalg.solve(crystal.cell.T, (kept.positions - crystal.positions).T)
    np.testing.assert_allclose(along, np.rint(along), atol=1e-6)
    assert np.abs(kept.positions).max() < 20
