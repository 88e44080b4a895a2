"""SO3LR against its own package, and its weights' file."""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from mlff_core.errors import InputError
from mlff_core.plugins import host as plugins
from mlff_core.structures.batch import concatenate, single
from mlff_core.structures.reading import batch_from_atoms

pytest.importorskip("so3krates_torch")


@pytest.fixture(scope="module")
def float64():
    return plugins.teacher("so3lr").load({"device": "cpu", "dtype": "float64"})


@pytest.fixture(scope="module")
def float32():
    return plugins.teacher("so3lr").load({"device": "cpu"})


def rattled(name: str, seed: int = 0) -> Atoms:
    atoms = molecule(name)
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.05, atoms.positions.shape)
    return atoms


def packages_own(atoms: Atoms, *, r_max_lr: float, stress: bool = False) -> Atoms:
    from so3krates_torch.calculator.so3 import SO3LRCalculator

    default = torch.get_default_dtype()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms.calc = SO3LRCalculator(r_max_lr=r_max_lr, default_dtype="float64", compute_stress=stress)
            atoms.get_forces()
    finally:
        torch.set_default_dtype(default)  # noqa: TID251 - the package's calculator changed it
        torch.set_printoptions(profile="default")
    return atoms


@pytest.mark.parametrize("charge", [0.0, 2.0])
def test_forces_in_the_gas_phase_are_those_of_the_packages_own_calculator(float64, charge):
    atoms = rattled("CH3CH2OH")
    atoms.info["charge"] = charge
    ours = float64.predict(batch_from_atoms(atoms, dtype=torch.float64))
    theirs = packages_own(atoms, r_max_lr=1000.0)
    np.testing.assert_allclose(ours.forces.numpy(), theirs.get_forces(), atol=1e-6)


def test_energy_differs_from_the_packages_own_by_the_zeroed_shift_of_each_atom(float64):
    shifts = []
    for name in ("CH3CH2OH", "H2O", "CH3SCH3"):
        atoms = rattled(name)
        ours = float64.predict(batch_from_atoms(atoms, dtype=torch.float64)).energy.item()
        shifts.append((packages_own(atoms, r_max_lr=1000.0).get_potential_energy() - ours) / len(atoms))
    np.testing.assert_allclose(shifts, -163.61811829, atol=1e-4)


def test_stress_and_forces_in_a_cell_are_those_of_the_packages_own_calculator(float64):
    atoms = rattled("CH3OH")
    atoms.set_cell([[6.0, 0.0, 0.0], [1.5, 5.5, 0.0], [-1.0, 1.2, 6.2]])
    atoms.pbc = True
    batch = batch_from_atoms(atoms, dtype=torch.float64)
    ours = float64.predict(batch, want=("energy", "forces", "stress"))
    theirs = packages_own(atoms, r_max_lr=12.0, stress=True)
    np.testing.assert_allclose(ours.forces.numpy(), theirs.get_forces(), atol=1e-6)
    np.testing.assert_allclose(ours.stress[0].numpy(), theirs.get_stress(voigt=False), atol=1e-7)


def test_single_precision_stays_within_a_hundredth_of_a_milli_electronvolt_an_atom(float32, float64):
    batch = batch_from_atoms(rattled("CH3CH2OH"), dtype=torch.float64)
    difference = float32.predict(batch).energy - float64.predict(batch).energy
    assert abs(difference.item()) < 1e-5 * batch.n_atoms


def test_energies_of_atoms_sum_to_the_energy(float32):
    batch = batch_from_atoms([rattled("CH3CH2OH"), rattled("H2O")])
    prediction = float32.predict(batch, want=("energy", "atom_energies"))
    sums = torch.zeros(2, dtype=torch.float64).index_add_(0, batch.system_idx, prediction.atom_energies)
    torch.testing.assert_close(sums, prediction.energy, rtol=0, atol=1e-9)


def test_a_mixed_batch_of_molecules_and_cells_is_each_alone(float64):
    crystal = rattled("H2O")
    crystal.set_cell([5.0, 5.5, 6.0])
    crystal.pbc = True
    singles = [batch_from_atoms(a, dtype=torch.float64) for a in (rattled("CH4"), crystal, rattled("HCN"))]
    together = float64.predict(concatenate(singles))
    alone = [float64.predict(single) for single in singles]
    torch.testing.assert_close(together.energy, torch.cat([p.energy for p in alone]), rtol=0, atol=1e-10)
    torch.testing.assert_close(together.forces, torch.cat([p.forces for p in alone]), rtol=0, atol=1e-10)


def test_a_large_batch_in_several_chunks_is_each_alone(float32):
    frames = [rattled("CH3CH2OH", seed) for seed in range(70)]
    together = float32.predict(batch_from_atoms(frames))
    for k in (0, 66, 69):
        alone = float32.predict(batch_from_atoms(frames[k]))
        torch.testing.assert_close(together.forces[9 * k : 9 * k + 9], alone.forces, rtol=0, atol=2e-5)
        torch.testing.assert_close(together.energy[k : k + 1], alone.energy, rtol=0, atol=1e-5)


def test_tampered_weights_are_refused_and_nothing_in_them_is_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").mkdir, ())

    tampered = tmp_path / "so3lr.model"
    torch.save(Bomb(), tampered)
    with pytest.raises(InputError, match="SHA-256"):
        plugins.teacher("so3lr").load({"weights_path": tampered})
    assert not (tmp_path / "exploded").exists()


def test_weights_with_one_flipped_bit_are_refused(tmp_path):
    from mlff_plugins.teachers.so3lr_potential import packaged_weights

    content = bytearray(packaged_weights().read_bytes())
    content[len(content) // 2] ^= 1
    tampered = tmp_path / "so3lr.model"
    tampered.write_bytes(content)
    with pytest.raises(InputError, match="refused before any code in it was run"):
        plugins.teacher("so3lr").load({"weights_path": tampered})


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        plugins.teacher("so3lr").load({"weights_path": tmp_path / "nowhere"})


def test_the_factory_of_a_worker_process_can_be_pickled():
    factory = functools.partial(plugins.teacher("so3lr").load, {"device": "cpu"})
    potential = pickle.loads(pickle.dumps(factory))()
    assert potential.card.teacher["name"] == "so3lr"


@pytest.mark.parametrize(("name", "debye"), [("H2O", 1.91), ("CH3CN", 4.09), ("CH3OH", 1.66), ("CH3Cl", 1.87)])
def test_dipoles_are_those_of_its_charges_and_near_experiment(float64, name, debye):
    # Experiment: 1.85, 3.92, 1.70 and 1.90 D.
    atoms = molecule(name)
    found = float64.predict(single(atoms.positions, atoms.numbers), want=("charges", "dipole"))
    assert float(found.charges.sum()) == pytest.approx(0, abs=1e-5)
    by_hand = (found.charges[:, None] * torch.from_numpy(atoms.positions)).sum(dim=0)
    torch.testing.assert_close(found.dipole[0], by_hand, rtol=0, atol=1e-4)
    assert float(torch.linalg.vector_norm(found.dipole)) / 0.2081943 == pytest.approx(debye, abs=0.06)


def test_charges_of_an_ion_add_up_to_its_charge(float64):
    ammonia = molecule("NH3")
    positions = np.vstack([ammonia.positions, ammonia.positions[0] + [0, 0, 1.03]])
    found = float64.predict(single(positions, [7, 1, 1, 1, 1], charge=1), want=("charges", "dipole"))
    assert float(found.charges.sum()) == pytest.approx(1, abs=1e-5)
    moved = float64.predict(single(positions + 7.0, [7, 1, 1, 1, 1], charge=1), want=("dipole",))
    torch.testing.assert_close(found.dipole, moved.dipole, rtol=0, atol=1e-4)
