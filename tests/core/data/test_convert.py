import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones

from mlff_core.data.convert import convert
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.errors import InputError


def structures(periodic):
    rng = np.random.default_rng(4)
    for k in range(5):
        n_atoms = k + 2
        yield LabelledStructure(
            atomic_numbers=rng.choice([1, 6, 8], n_atoms).astype(np.uint8),
            positions=rng.normal(size=(n_atoms, 3)).astype(np.float32),
            energy=float(-1234.5678901234 + k),
            forces=rng.normal(size=(n_atoms, 3)).astype(np.float32),
            cell=5 * np.eye(3) + rng.normal(size=(3, 3)) if periodic else None,
            pbc=np.array([True, True, False]) if periodic else None,
            stress=(lambda a: (a + a.T).astype(np.float32))(rng.normal(size=(3, 3))) if periodic else None,
            charge=k - 1,
            spin_multiplicity=1 + k % 2,
            weight=0.5,
            atom_energies=rng.normal(size=n_atoms).astype(np.float32),
            molecule_id=k // 2,
            kind=["md", "rattle"][k % 2],
            smiles=["C", "CC", "C.C"][k // 2],
            split=["train", "train", "test", "test", "validation"][k],
        )


@pytest.mark.parametrize("periodic", [False, True])
def test_extended_xyz_and_back_keeps_everything(tmp_path, periodic):
    write_dataset(tmp_path / "a.h5", structures(periodic))
    assert convert(tmp_path / "a.h5", tmp_path / "a.extxyz") == 5
    assert convert(tmp_path / "a.extxyz", tmp_path / "b.h5", license="CC0") == 5
    before, after = list(Dataset(tmp_path / "a.h5").structures()), list(Dataset(tmp_path / "b.h5").structures())
    for one, other in zip(before, after, strict=True):
        for name in ("positions", "forces", "cell", "stress", "atom_energies"):
            if getattr(one, name) is None:
                assert getattr(other, name) is None
            else:
                np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=1e-7, err_msg=name)
        for name in ("charge", "spin_multiplicity", "weight", "molecule_id", "kind", "smiles", "split"):
            assert getattr(other, name) == getattr(one, name), name
        assert other.energy == pytest.approx(one.energy, abs=1e-8)
    assert Dataset(tmp_path / "b.h5").license == "CC0"


def test_ase_reads_the_same_labels_and_stress_sign(tmp_path):
    write_dataset(tmp_path / "a.h5", structures(True))
    convert(tmp_path / "a.h5", tmp_path / "a.extxyz")
    for one, frame in zip(structures(True), ase.io.read(tmp_path / "a.extxyz", ":"), strict=True):
        np.testing.assert_allclose(frame.get_stress(voigt=False), one.stress, atol=1e-6)
        np.testing.assert_allclose(frame.get_forces(), one.forces, atol=1e-6)
        assert frame.get_potential_energy() == pytest.approx(one.energy)


def test_a_trajectory_of_ase_becomes_a_data_set_of_one_molecule(tmp_path):
    frames = []
    for k in range(3):
        atoms = bulk("Ar", cubic=True)
        atoms.rattle(0.05, seed=k)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.01)
        atoms.get_stress()
        frames.append(atoms)
    ase.io.write(tmp_path / "in.traj", frames)
    convert(tmp_path / "in.traj", tmp_path / "out.h5")
    dataset = Dataset(tmp_path / "out.h5")
    dataset.validate()
    assert dataset.molecule_id.tolist() == [0, 0, 0]
    assert dataset.kinds == ["given"]
    read = dataset.read([0, 1, 2])
    np.testing.assert_allclose(read.stress[1], frames[1].get_stress(voigt=False), atol=1e-6)
    np.testing.assert_allclose(read.energy, [f.get_potential_energy() for f in frames])


def test_frames_without_labels_make_a_set_without_labels(tmp_path):
    ase.io.write(tmp_path / "in.xyz", [molecule("H2O"), molecule("CH4")])
    convert(tmp_path / "in.xyz", tmp_path / "out.h5")
    dataset = Dataset(tmp_path / "out.h5")
    assert not dataset.is_labelled
    assert dataset.molecule_id.tolist() == [0, 1]


def test_other_formats_of_ase_are_written(tmp_path):
    write_dataset(tmp_path / "a.h5", structures(False))
    convert(tmp_path / "a.h5", tmp_path / "a.traj")
    assert len(ase.io.read(tmp_path / "a.traj", ":")) == 5
    with pytest.raises(InputError, match=r"a.nonsense cannot be written: .*; use .extxyz or .h5"):
        convert(tmp_path / "a.h5", tmp_path / "a.nonsense")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "a.traj"]


def test_half_labelled_files_and_odd_info_are_refused(tmp_path):
    labelled, bare = molecule("H2O"), molecule("H2O")
    labelled.calc = LennardJones()
    labelled.get_forces()
    ase.io.write(tmp_path / "in.extxyz", [labelled, bare])
    with pytest.raises(InputError, match="structure 1 has no energy, but others have"):
        convert(tmp_path / "in.extxyz", tmp_path / "out.h5")
    bare.info["charge"] = "plus one"
    ase.io.write(tmp_path / "in.extxyz", [bare])
    with pytest.raises(InputError, match=r"frame 0: atoms.info\['charge'\] must be a number, got 'plus one'"):
        convert(tmp_path / "in.extxyz", tmp_path / "out.h5")
    with pytest.raises(InputError, match="there is no file"):
        convert(tmp_path / "absent.xyz", tmp_path / "out.h5")
