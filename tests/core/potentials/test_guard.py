"""The guard warns or stops at structures unlike the training data, and changes no number."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

import mlff_core
from mlff_core import VerletPotential, batch_from_atoms
from mlff_core.errors import InputError, OffDomainError
from mlff_core.potentials.ensemble import Ensemble
from mlff_core.potentials.guard import OffDomainWarning
from mlff_core.potentials.student import StudentPotential

STUDENTS = ("organic-ultra-tiny", "organic-tiny", "organic-original")
TWENTY = (
    "H2O", "NH3", "PH3", "CH4", "CH3SH", "C6H6", "CH3CH2OH", "CO2", "SO2", "HCN", "C2H2", "C2H4", "CH3OH", "HCOOH",
    "H2CO", "CH3Cl", "CH3CN", "C2H6", "CH3CHO", "C4H4O",
)  # fmt: skip


def half(name):
    """Return a molecule with all its distances halved."""
    atoms = molecule(name)
    atoms.positions *= 0.5
    return batch_from_atoms(atoms)


def soup(seed):
    """Return twelve random atoms in a box, none closer than 0.6 Å, with an even number of electrons."""
    rng = np.random.default_rng(seed)
    positions = []
    while len(positions) < 12:
        new = rng.uniform(0.0, 3.0, 3)
        if all(np.linalg.norm(new - old) >= 0.6 for old in positions):
            positions.append(new)
    numbers = rng.choice([1, 6, 7, 8, 9, 15, 16, 17], 12)
    if numbers.sum() % 2:
        numbers[0] = 6 if numbers[0] % 2 else 1
    return batch_from_atoms(Atoms(numbers, positions))


def test_a_compressed_molecule_warns_once_with_structure_atom_number_and_bound():
    student = mlff_core.load("organic-tiny", device="cpu")
    with pytest.warns(OffDomainWarning, match=r"atom \d \([CHS]\) of CH4S .* bound from the training data is -?\d"):
        found = student.predict(half("CH3SH"))
    student.predict(half("CH3SH"))  # a second warning would be an error here
    unguarded = mlff_core.load("organic-tiny", device="cpu", guard="off").predict(half("CH3SH"))
    assert torch.equal(found.energy, unguarded.energy)
    assert torch.equal(found.forces, unguarded.forces)
    assert found.atom_energies is None


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("kernel", ["cpu", "reference"])
def test_no_compressed_molecule_passes(name, kernel):
    student = mlff_core.load(name, device="cpu", kernel=kernel, guard="stop")
    for formula in TWENTY:
        with pytest.raises(OffDomainError, match="was not trained on structures like this"):
            student.predict(half(formula))


@pytest.mark.parametrize("name", STUDENTS)
def test_no_soup_whose_atoms_leave_the_bounds_passes(name):
    student = mlff_core.load(name, device="cpu", guard="off")
    watched = mlff_core.load(name, device="cpu", guard="stop")
    domain = watched.guard.domain
    n_outside = 0
    for seed in range(40):
        batch = soup(seed)
        energies = student.predict(batch, want=("energy", "atom_energies")).atom_energies.tolist()
        bounds = [domain.energy_bounds(z) for z in batch.atomic_numbers.tolist()]
        if all(low <= energy <= high for energy, (low, high) in zip(energies, bounds, strict=True)):
            continue
        n_outside += 1
        with pytest.raises(OffDomainError):
            watched.predict(batch)
    assert n_outside >= 30


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize(("formula", "finding"), [("O2", "O alone occurs in no structure"), ("CH3", "9 electrons")])
def test_oxygen_and_a_radical_get_an_error(name, formula, finding):
    with pytest.raises((OffDomainError, mlff_core.UnsupportedError), match=f"{finding}|odd"):
        mlff_core.load(name, device="cpu", guard="stop").predict(batch_from_atoms(molecule(formula)))


@pytest.mark.parametrize("name", STUDENTS)
def test_ordinary_molecules_give_no_warning(name):
    student = mlff_core.load(name, device="cpu", guard="stop")
    for formula in TWENTY:
        student.predict(batch_from_atoms(molecule(formula)))
    student.predict(batch_from_atoms([molecule(formula) for formula in TWENTY]))


def test_float64_is_watched_too():
    with pytest.raises(OffDomainError):
        mlff_core.load("organic-tiny", device="cpu", dtype="float64", guard="stop").predict(half("PH3"))


def test_the_message_names_the_structure_of_a_batch():
    batch = batch_from_atoms([molecule("H2O"), molecule("O2")])
    with pytest.raises(OffDomainError, match=r"O2 \(structure 2 of 2\)"):
        mlff_core.load("organic-tiny", device="cpu", guard="stop").predict(batch)


def test_steps_under_a_skin_are_watched():
    water = batch_from_atoms(molecule("H2O"))
    moving = VerletPotential(mlff_core.load("organic-tiny", device="cpu", guard="stop"))
    moving.predict(water)
    moved = water.positions.clone()
    moved[1] = moved[0] + 0.55 * (moved[1] - moved[0])
    with pytest.raises(OffDomainError, match="H2O"):
        moving.predict_checked(water.with_positions(moved), frozenset({"energy", "forces"}))
    assert moving.n_searches == 1


def test_a_system_computed_in_parts_is_watched():
    student = mlff_core.load("organic-tiny", device="cpu", kernel="cpu", guard="stop")
    chain = Atoms("C400", [(1.5 * k, 0.0, 0.0) for k in range(400)])
    chain.numbers[::2] = 7
    student.kernel.memory_bytes = student.kernel.needed_bytes(300, 2400)
    chain.positions[200, 0] -= 0.8
    with pytest.raises(OffDomainError, match=r"atom (198|199|200|201)"):
        student.predict(batch_from_atoms(chain))


def test_each_member_of_a_committee_has_its_guard():
    members = [mlff_core.load(name, device="cpu", guard="stop") for name in STUDENTS[:2]]
    with pytest.raises(OffDomainError, match="organic-ultra-tiny"):
        Ensemble(members).predict(half("C6H6"))


def test_a_copy_in_another_process_warns_for_itself():
    student = mlff_core.load("organic-ultra-tiny", device="cpu")
    with pytest.warns(OffDomainWarning):
        student.predict(half("C6H6"))
    copy = pickle.loads(pickle.dumps(student))
    assert isinstance(copy, StudentPotential)
    with pytest.warns(OffDomainWarning):
        copy.predict(half("C6H6"))


def test_an_exported_file_is_watched_where_its_card_has_a_domain(tmp_path):
    from mlff_core.plugins import host as plugins

    student = mlff_core.load("organic-ultra-tiny", device="cpu", kernel="reference")
    path = tmp_path / "student.ts"
    plugins.exporter("torchscript").export(student, path)
    with pytest.raises(OffDomainError):
        mlff_core.load(path, device="cpu", guard="stop").predict(half("C6H6"))


def test_the_environment_variable_sets_the_default(monkeypatch):
    monkeypatch.setenv("MLFF_GUARD", "off")
    assert mlff_core.load("organic-tiny", device="cpu").guard is None
    assert mlff_core.load("organic-tiny", device="cpu", guard="stop").guard.action == "stop"
    monkeypatch.setenv("MLFF_GUARD", "loud")
    with pytest.raises(InputError, match="MLFF_GUARD must be one of warn, stop and off, got 'loud'"):
        mlff_core.load("organic-tiny", device="cpu")


def test_dynamics_at_500_kelvin_does_not_warn(tmp_path):
    from mlff_core.dynamics import MDSettings, run_md

    settings = MDSettings(ensemble="nvt", n_steps=1000, timestep_fs=0.5, temperature_kelvin=500.0, friction_per_ps=5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OffDomainWarning)
        for name in STUDENTS[:2]:
            run_md(mlff_core.load(name, device="cpu"), molecule("CH3CH2OH"), settings, tmp_path / name)


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_a_trial_step_of_an_optimiser_neither_ends_the_run_nor_the_watch(action):
    from mlff_core.potentials.verlet import VerletPotential

    student = VerletPotential(mlff_core.load("organic-tiny", device="cpu", guard=action))
    good, trial = batch_from_atoms(molecule("C6H6")), half("C6H6")
    student.predict(good, dynamics=False)
    with pytest.warns(OffDomainWarning, match="may be a trial step that the optimiser rejects"):
        student.predict(trial, dynamics=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OffDomainWarning)
        student.predict(trial, dynamics=False)
        student.predict(good, dynamics=False)
    # In dynamics there are no trial steps, and the first structure of an optimisation is none either.
    again = VerletPotential(mlff_core.load("organic-tiny", device="cpu", guard="stop"))
    for potential, dynamics in ((student, True), (again, False)):
        if potential.guard.action == "warn":
            with pytest.warns(OffDomainWarning, match="may be far off"):
                potential.predict(trial, dynamics=dynamics)
        else:
            with pytest.raises(OffDomainError):
                potential.predict(trial, dynamics=dynamics)
