"""ASE: the contract, and the uses of a calculator.

Over 300 lines, in one file because its tests share one calculator.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.io import Trajectory
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.phonons import Phonons
from ase.vibrations import Vibrations, VibrationsData

from mlff_core.errors import CheckpointError, InputError, UnsupportedError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.potentials.interface import Potential
from mlff_core.structures.prediction import Prediction
from mlff_core.testing import EngineContract, PairPotential, potential_checks, small_student, structures
from mlff_plugins.ase import ASEEngine, MLFFCalculator


class TestASEContract(EngineContract):
    engine = ASEEngine()
    # ASE's atomic data come with the core; its calculators need not, and neither does torch.
    engine_modules = ("ase.calculators", "torch")


def with_calculator(atoms, potential=None, **options):
    atoms.calc = MLFFCalculator(PairPotential(dtype=torch.float64) if potential is None else potential, **options)
    return atoms


@pytest.fixture
def model_file(tmp_path):
    student = small_student()
    return save_checkpoint(tmp_path / "model.pt", student.model, student.card)


def test_a_model_file_is_opened_by_its_path(model_file):
    atoms = with_calculator(structures.ethanol(), str(model_file), device="cpu", dtype="float64")
    wanted = small_student(dtype=torch.float64).predict(structures.to_batch(atoms))
    # The file holds float32 weights, as the student's are.
    assert atoms.get_potential_energy() == pytest.approx(float(wanted.energy), abs=1e-9)
    assert np.abs(atoms.get_forces() - wanted.forces.numpy()).max() < 1e-9


@pytest.mark.parametrize(
    ("model", "options", "error"),
    [
        ("no-such-file.pt", {}, CheckpointError),
        (None, {"dtype": "float16"}, InputError),
        (None, {"device": "abacus"}, InputError),
        (None, {"kernel": "abacus"}, InputError),
        (None, {"skin": -1.0}, InputError),
    ],
)
def test_a_wrong_argument_is_our_error(model_file, model, options, error):
    with pytest.raises(error):
        MLFFCalculator(model or model_file, **options)


def test_every_property_is_in_ases_units_and_order():
    atoms = with_calculator(structures.triclinic_crystal())
    wanted = PairPotential(dtype=torch.float64).predict(
        structures.to_batch(atoms), want=("forces", "stress", "atom_energies")
    )
    # The Verlet list has edges in another order, so sums differ in the last digit.
    close = {"rtol": 0, "atol": 1e-12}
    assert atoms.get_potential_energy() == pytest.approx(float(wanted.energy), rel=1e-14)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert np.allclose(atoms.get_forces(), wanted.forces.numpy(), **close)
    assert np.allclose(atoms.get_stress(voigt=False), wanted.stress[0].numpy(), **close)
    assert np.allclose(atoms.get_potential_energies(), wanted.atom_energies.numpy(), **close)
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = wanted.stress[0].tolist()
    assert np.allclose(atoms.get_stress(), [xx, yy, zz, yz, xz, xy], **close)


def test_stress_is_positive_under_tension():
    atoms = with_calculator(structures.small_cell())
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=300)
    assert abs(atoms.get_stress()).max() < 1e-3
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    assert atoms.get_stress()[:3].min() > 1e-3


def test_arrays_that_are_not_contiguous_give_the_same():
    plain = with_calculator(structures.triclinic_crystal())
    strange = structures.triclinic_crystal()
    strange.arrays["positions"] = np.asfortranarray(strange.positions)
    strange.arrays["numbers"] = np.repeat(strange.numbers, 2)[::2]
    with_calculator(strange)
    assert np.array_equal(plain.get_forces(), strange.get_forces())


class Counting(PairPotential):
    """Counts evaluations, and records the requested properties."""

    def __init__(self):
        super().__init__(dtype=torch.float64)
        self.wants = []

    def predict_checked(self, batch, want, edges=None):
        self.wants.append(set(want))
        return super().predict_checked(batch, want, edges)


def test_nothing_is_computed_twice():
    potential = Counting()
    atoms = with_calculator(structures.triclinic_crystal(), potential)
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    assert len(potential.wants) == 1
    atoms.get_potential_energies()
    assert len(potential.wants) == 2


def test_stress_is_computed_for_crystals_only():
    potential = Counting()
    with_calculator(structures.ethanol(), potential).get_forces()
    assert potential.wants == [{"energy", "forces"}]


@pytest.mark.parametrize("key", ["charge", "spin_multiplicity"])
def test_a_changed_charge_or_multiplicity_is_noticed(key):
    potential = Counting()
    atoms = with_calculator(structures.ethanol(), potential)
    atoms.get_forces()
    atoms.info["comment"] = "of no effect"
    assert not atoms.calc.calculation_required(atoms, ["energy"])
    atoms.info[key] = 2
    assert atoms.calc.calculation_required(atoms, ["energy"])
    with pytest.raises(UnsupportedError):
        atoms.get_forces()
    # Asking again must not find what was there before the error.
    with pytest.raises(UnsupportedError):
        atoms.get_potential_energy()
    del atoms.info[key]
    atoms.get_forces()


class TakesCharges(PairPotential):
    """One eV for each elementary charge."""

    def __init__(self):
        super().__init__(dtype=torch.float64)
        self.card = type(self.card)(**{**self.card.to_dict(), "charges": "any"})

    def predict_checked(self, batch, want, edges=None):
        plain = super().predict_checked(batch, want, edges)
        charge = torch.zeros(batch.n_systems) if batch.charge is None else batch.charge
        return Prediction(plain.energy + charge.double(), plain.forces, plain.stress, plain.atom_energies)


def test_the_charge_reaches_a_model_that_takes_one():
    atoms = with_calculator(structures.ethanol(), TakesCharges())
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = -2
    assert atoms.get_potential_energy() == pytest.approx(neutral - 2)


def test_a_charge_that_is_no_number_is_refused():
    atoms = with_calculator(structures.ethanol())
    atoms.info["charge"] = "minus one"
    with pytest.raises(InputError, match="charge"):
        atoms.get_forces()


def test_no_atoms_and_the_stress_of_a_molecule_are_refused():
    with pytest.raises(InputError, match="empty"):
        with_calculator(Atoms()).get_potential_energy()
    with pytest.raises(InputError, match="cell"):
        with_calculator(structures.ethanol()).get_stress()


def test_a_slab_whose_third_vector_is_zero_has_forces():
    atoms = structures.slab()
    atoms.cell[2] = 0.0
    free = with_calculator(structures.slab()).get_forces()
    assert np.allclose(with_calculator(atoms).get_forces(), free, atol=1e-10)


class EnergyOnly(Potential):
    """A teacher with energies only."""

    card = PairPotential().card
    device, dtype, supports = torch.device("cpu"), torch.float64, frozenset({"energy"})

    def predict_checked(self, batch, want, edges=None):
        return Prediction(torch.ones(batch.n_systems, dtype=torch.float64))


def test_what_a_model_cannot_give_is_not_implemented():
    atoms = with_calculator(structures.ethanol(), EnergyOnly())
    assert atoms.get_potential_energy() == 1.0
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_forces()


@pytest.mark.parametrize("make", [structures.ethanol, structures.molecule_in_dummy_cell])
def test_the_stress_of_a_molecule_is_ases_own_error_and_ours(make):
    atoms = with_calculator(make())
    for error in (PropertyNotImplementedError, InputError):
        with pytest.raises(error, match="stress needs a periodic cell with a volume"):
            atoms.get_stress()
    assert np.isfinite(atoms.get_forces()).all()


def test_parameters_are_not_swallowed():
    calculator = MLFFCalculator(small_student())
    for name, value in (("dtype", "float64"), ("skin", 2.0), ("dtpye", "float64")):
        with pytest.raises(InputError, match=f"cannot be changed, got {name} = .* make another: MLFFCalculator"):
            calculator.set(**{name: value})
    assert calculator.set(dtype="float32") == {}
    assert calculator.parameters["dtype"] == "float32"


def test_a_charge_by_any_name_is_noticed_and_refused():
    atoms = with_calculator(structures.ethanol())
    atoms.get_forces()
    for name in ("total_charge", "net_charge"):
        atoms.info[name] = 1
        with pytest.raises(UnsupportedError, match=r"total charge is \+1 e"):
            atoms.get_forces()
        del atoms.info[name]
        atoms.get_forces()
    atoms.set_initial_charges([-1, *[0] * 8])
    with pytest.raises(UnsupportedError, match="total charge is -1 e"):
        atoms.get_forces()


def test_many_structures_at_once_equal_one_by_one(monkeypatch):
    # Few atoms a call, so that the list is cut in several places.
    monkeypatch.setattr("mlff_plugins.ase.calculator.ATOMS_PER_CALL", 30)
    frames = [
        structures.triclinic_crystal(),
        structures.slab(),
        structures.small_cell(),
        structures.triclinic_crystal(),
    ]
    calculator = MLFFCalculator(small_student(dtype=torch.float64))
    results = calculator.calculate_many(frames, properties=["energy", "forces", "stress", "energies"])
    assert len(results) == len(frames)
    for atoms, result in zip(frames, results, strict=True):
        with_calculator(atoms, small_student(dtype=torch.float64))
        assert result["energy"] == result["free_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        assert np.allclose(result["forces"], atoms.get_forces(), atol=1e-10)
        assert np.allclose(result["stress"], atoms.get_stress(), atol=1e-12)
        assert np.allclose(result["energies"], atoms.get_potential_energies(), atol=1e-9)


def test_many_structures_with_one_that_is_bad_are_refused():
    frames = [structures.ethanol(), structures.ethanol()]
    frames[1].positions[0, 0] = np.nan
    with pytest.raises(InputError, match="finite"):
        MLFFCalculator(PairPotential()).calculate_many(frames)
    with pytest.raises(InputError, match="magmom"):
        MLFFCalculator(PairPotential()).calculate_many(frames[:1], properties=["magmom"])
    assert MLFFCalculator(PairPotential()).calculate_many([]) == []


def test_the_hessian_is_minus_the_derivative_of_the_forces():
    atoms = with_calculator(structures.ethanol(), small_student(dtype=torch.float64))
    hessian = atoms.calc.get_hessian(atoms)
    assert hessian.shape == (27, 27)
    direction = np.random.RandomState(3).normal(size=(9, 3))
    step, forces = 1e-4, []
    for sign in (1, -1):
        moved = with_calculator(structures.ethanol(), small_student(dtype=torch.float64))
        moved.positions += sign * step * direction
        forces.append(moved.get_forces())
    derivative = (forces[1] - forces[0]).ravel() / (2 * step)
    assert np.abs(hessian @ direction.ravel() - derivative).max() < 1e-4 * np.abs(derivative).max()


def nve_drift(atoms, temperature, timestep_fs, steps):
    """Return the largest change of the total energy over the mean kinetic energy, in a run without thermostat."""
    momenta = np.random.RandomState(0).normal(size=(len(atoms), 3)) * np.sqrt(
        atoms.get_masses()[:, None] * temperature * units.kB
    )
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    dynamics = VelocityVerlet(atoms, timestep_fs * units.fs)
    totals, kinetics = [], []

    def watch():
        totals.append(atoms.get_total_energy())
        kinetics.append(atoms.get_kinetic_energy())

    dynamics.attach(watch)
    dynamics.run(steps)
    return max(abs(np.array(totals) - totals[0])) / np.mean(kinetics)


@pytest.mark.parametrize("atoms", [structures.ethanol(), structures.triclinic_crystal()], ids=["molecule", "crystal"])
def test_a_run_without_thermostat_conserves_energy_to_the_order_of_verlet(atoms):
    # A small skin, so that the list is rebuilt many times on the way.
    with_calculator(atoms, skin=0.3)
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
    drifts = []
    for timestep_fs, steps in ((1.0, 80), (0.5, 160)):
        run = with_calculator(atoms.copy(), skin=0.3)
        drifts.append(nve_drift(run, 300, timestep_fs, steps))
    assert drifts[1] < 0.02
    # Velocity Verlet's error is of second order in the time step: a half step has a quarter of it.
    assert drifts[1] < 0.35 * drifts[0]


def test_a_student_conserves_energy():
    atoms = with_calculator(structures.ethanol(), small_student(dtype=torch.float64))
    BFGS(atoms, logfile=None).run(fmax=0.1, steps=100)
    assert nve_drift(atoms, 100, 0.2, 80) < 0.05


def test_relaxation_ends_where_forces_vanish_and_curvature_is_positive():
    atoms = with_calculator(structures.ethanol())
    before = atoms.get_potential_energy()
    BFGS(atoms, logfile=None).run(fmax=1e-4, steps=500)
    assert atoms.get_potential_energy() < before
    assert np.abs(atoms.get_forces()).max() < 1e-4
    frequencies = np.linalg.eigvalsh(atoms.calc.get_hessian(atoms))
    # Three translations, three rotations, and no direction downhill.
    assert frequencies[0] > -1e-3
    assert (np.abs(frequencies) < 1e-3).sum() == 6


def test_vibrations_agree_with_the_hessian(tmp_path):
    atoms = with_calculator(structures.ethanol()[[1, 2, 8]])
    BFGS(atoms, logfile=None).run(fmax=1e-6, steps=500)
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.001)
    vibrations.run()
    direct = VibrationsData.from_2d(atoms, atoms.calc.get_hessian(atoms))
    assert np.allclose(vibrations.get_energies()[6:].real, direct.get_energies()[6:].real, rtol=1e-3)


def test_phonons_have_three_acoustic_modes_at_the_zone_centre(tmp_path):
    atoms = with_calculator(structures.small_cell())
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=300)
    phonons = Phonons(
        atoms,
        MLFFCalculator(PairPotential(dtype=torch.float64)),
        supercell=(3, 3, 3),
        delta=0.005,
        name=str(tmp_path / "phonon"),
    )
    phonons.run()
    phonons.read(acoustic=True)
    energies = np.sort(np.abs(phonons.band_structure([[0.0, 0.0, 0.0]]).real[0]))
    assert energies[:3].max() < 1e-3
    assert energies[3] > 5e-3


def test_results_and_lineage_are_in_the_trajectory(tmp_path):
    atoms = with_calculator(structures.ethanol())
    with Trajectory(tmp_path / "run.traj", "w", atoms) as trajectory:
        atoms.get_forces()
        trajectory.write()
    with Trajectory(tmp_path / "run.traj") as trajectory:
        read = trajectory[0]
    assert read.get_potential_energy() == atoms.get_potential_energy()
    assert read.calc.name == "mlff"
    assert np.array_equal(read.get_forces(), atoms.get_forces())


def test_two_structures_may_share_a_calculator():
    shared = MLFFCalculator(PairPotential(dtype=torch.float64))
    one, two = structures.ethanol(), structures.triclinic_crystal()
    one.calc = two.calc = shared
    for _ in range(2):
        assert np.array_equal(one.get_forces(), with_calculator(structures.ethanol()).get_forces())
        assert np.array_equal(two.get_stress(), with_calculator(structures.triclinic_crystal()).get_stress())


def test_the_engine_is_registered_and_refuses_unknown_options():
    from mlff_core.plugins import host as plugins

    engine = plugins.engine("ase")
    assert isinstance(engine, ASEEngine)
    assert engine.missing() == ()
    with pytest.raises(InputError, match="skim"):
        engine.bind(PairPotential(), {"skim": 1.0})


def test_the_skin_changes_no_number():
    walk = np.random.RandomState(1).normal(scale=0.05, size=(20, 12, 3))
    found = []
    for skin in (0.0, 0.4, 2.0):
        atoms = with_calculator(structures.triclinic_crystal(), skin=skin)
        forces = []
        for step in walk:
            atoms.positions += step
            forces.append(atoms.get_forces())
        found.append(np.array(forces))
    assert np.allclose(found[0], found[1], atol=1e-10)
    assert np.allclose(found[0], found[2], atol=1e-10)


def test_the_script_of_the_page_runs(model_file):
    script = Path(__file__).parents[2] / "examples" / "engines" / "ase_calculator.py"
    done = subprocess.run([sys.executable, str(script), str(model_file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "(27, 27)"


def test_forces_through_ase_pass_the_checks_of_any_potential():
    from mlff_core.plugins.through_engine import ThroughEngine

    with ThroughEngine(ASEEngine(), PairPotential(dtype=torch.float64), {}) as through:
        potential_checks.check_everything(through)


def test_atoms_that_were_refused_are_not_forgotten_when_they_move():
    atoms = structures.ethanol()
    atoms.calc = MLFFCalculator(small_student())
    before = atoms.get_forces()
    known = atoms.numbers[0]
    atoms.numbers[0] = 79
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="Au"):
            atoms.get_forces()
        atoms.positions[0, 0] += 0.01
    atoms.numbers[0] = known
    atoms.positions[0, 0] -= 0.02
    np.testing.assert_allclose(atoms.get_forces(), before, atol=1e-5)


def test_threads_that_share_a_calculator_get_the_energies_of_their_own_structures():
    from concurrent.futures import ThreadPoolExecutor

    calculator = MLFFCalculator(PairPotential(dtype=torch.float64))
    frames = [structures.ethanol() for _ in range(8)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=k)
    wanted = [calculator.get_potential_energy(atoms) for atoms in frames]

    def again(k):
        return all(calculator.get_potential_energy(frames[k]) == wanted[k] for _ in range(40))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(again, range(8)))


def test_dynamics_of_ase_stops_where_a_line_search_goes_on():
    atoms = Atoms("CHH", positions=[[0, 0, 0], [3.0, 0, 0], [0, 3.0, 0]])
    atoms.calc = MLFFCalculator(small_student(dtype=torch.float64))
    atoms.set_momenta([[0, 0, 0], [-28.0, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="overlap"):
        VelocityVerlet(atoms, timestep=0.1).run(1)
    same = Atoms("CHH", positions=[[0, 0, 0], [3.0, 0, 0], [0, 3.0, 0]])
    same.calc = MLFFCalculator(small_student(dtype=torch.float64))
    before = same.get_potential_energy()
    same.positions[1, 0] = 0.2
    assert same.get_potential_energy() > before + 10


@pytest.mark.parametrize("distance", [1e3, 1e6])
def test_forces_in_single_precision_far_from_the_origin_are_those_at_it(distance):
    student = small_student()
    near, far = structures.ethanol(), structures.ethanol()
    far.positions += [distance, -distance, 0.3 * distance]
    near.calc, far.calc = MLFFCalculator(student), MLFFCalculator(student)
    for k in range(3):  # the first call makes a batch, the next ones give it other positions
        assert np.abs(far.get_forces() - near.get_forces()).max() < 1e-3
        for atoms in (near, far):
            atoms.positions[k] += 0.05


def test_a_molecule_beyond_what_numbers_resolve_is_refused():
    atoms = structures.ethanol()
    atoms.positions += 1e30
    atoms.calc = MLFFCalculator(small_student())
    with pytest.raises(InputError, match=r"more than 1e\+08 Å from the origin"):
        atoms.get_potential_energy()
