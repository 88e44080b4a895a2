"""QCEngine: the contract, and inputs as programs give them.

Over 300 lines, in one file because its tests share one input of a program.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule as ase_molecule
from ase.constraints import FixInternals
from ase.optimize import BFGS
from ase.vibrations import VibrationsData

qcengine = pytest.importorskip("qcengine")

from mlff_core import load
from mlff_core.model.charges import ChargeReadout
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.plugins import host as plugins
from mlff_core.potentials.ensemble import Calibration, Ensemble
from mlff_core.structures.batch import single
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import EngineContract
from mlff_core.testing.reference_potential import PairPotential, small_student
from mlff_core.testing.structures import ethanol
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE, KCAL_MOL_PER_EV
from mlff_plugins.ase import MLFFCalculator
from mlff_plugins.qcengine import QCEngineEngine, register
from mlff_plugins.qcengine.harness import MLFFHarness

# QCElemental's schemas of version 1 live in pydantic's version-1 namespace.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


WITH_SPREAD = ("energy", "forces", "energy_std", "forces_std")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
class TestQCEngine(EngineContract):
    engine = QCEngineEngine()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    student = small_student()
    return save_checkpoint(tmp_path_factory.mktemp("model") / "Student.pt", student.model, student.card)


@pytest.fixture(autouse=True)
def registered():
    register()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder of each test: geomeTRIC writes its trajectory there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def molecule(atoms=None):
    atoms = ethanol() if atoms is None else atoms
    return {
        "symbols": list(atoms.symbols),
        "geometry": (atoms.positions / ANGSTROM_PER_BOHR).ravel().tolist(),
        "fix_com": True,
        "fix_orientation": True,
    }


def v1(model, driver="energy", **changes):
    return {"molecule": molecule(), "driver": driver, "model": {"method": str(model)}, "keywords": {}, **changes}


def v2(model, driver="energy"):
    return {"molecule": molecule(), "specification": {"driver": driver, "model": {"method": str(model)}}}


def test_energy_gradient_and_hessian_are_the_models_in_atomic_units(model):
    potential = load(model, device="cpu", dtype="float64")
    atoms = ethanol()
    batch = single(atoms.positions, atoms.numbers, dtype=torch.float64)
    expected = potential.predict(batch)
    energy = qcengine.compute(v1(model), "mlff", raise_error=True)
    assert energy.return_result == pytest.approx(float(expected.energy) / EV_PER_HARTREE, abs=1e-7)
    gradient = qcengine.compute(v1(model, "gradient"), "mlff", raise_error=True).return_result
    unit = EV_PER_HARTREE / ANGSTROM_PER_BOHR
    np.testing.assert_allclose(gradient, -expected.forces.numpy() / unit, atol=1e-6)
    hessian = qcengine.compute(v1(model, "hessian"), "mlff", raise_error=True).return_result
    np.testing.assert_allclose(hessian, potential.hessian(batch).numpy() * ANGSTROM_PER_BOHR / unit, atol=1e-5)


def test_the_gradient_is_the_derivative_of_the_energy_in_bohr(model):
    gradient = qcengine.compute(v1(model, "gradient"), "mlff", raise_error=True).return_result
    step, energies = 1e-3, []
    for sign in (1, -1):
        task = v1(model)
        task["molecule"]["geometry"][4] += sign * step
        energies.append(qcengine.compute(task, "mlff", raise_error=True).return_result)
    assert np.asarray(gradient).ravel()[4] == pytest.approx((energies[0] - energies[1]) / (2 * step), abs=1e-5)


@pytest.mark.parametrize("driver", ["energy", "gradient", "hessian", "properties"])
def test_schema_versions_1_and_2_give_identical_numbers(model, driver):
    one = qcengine.compute(v1(model, driver), "mlff", raise_error=True)
    two = qcengine.compute(v2(model, driver), "mlff", raise_error=True)
    assert one.schema_version == 1
    assert two.schema_version == 2
    if driver == "properties":
        assert one.return_result["return_energy"] == two.return_result["return_energy"]
    else:
        np.testing.assert_array_equal(one.return_result, two.return_result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"method": "no-such-model.pt"}}, "no-such-model.pt"),
        ({"model": {"method": "MODEL", "basis": "sto-3g"}}, "no basis sets"),
        ({"keywords": {"devise": "cpu"}}, "did you mean 'device'"),
        ({"molecule": {"symbols": ["Au"], "geometry": [0, 0, 0], "molecular_multiplicity": 2}}, "does not know Au"),
        ({"molecule": {"symbols": ["C", "O"], "geometry": [0, 0, 0, 0, 0, 2.2], "molecular_charge": 2}}, "neutral"),
        (
            {"molecule": {"symbols": ["C", "O"], "geometry": [0, 0, 0, 0, 0, 2.2], "molecular_multiplicity": 3}},
            "singlets",
        ),
        ({"molecule": {"symbols": ["O", "H"], "geometry": [0, 0, 0, 0, 0, 2], "real": [True, False]}}, "ghost"),
    ],
)
def test_bad_input_is_qcengines_input_error_with_our_message(model, change, message):
    task = v1(model) | change
    if task["model"]["method"] == "MODEL":
        task["model"]["method"] = str(model)
    result = qcengine.compute(task, "mlff")
    assert not result.success
    assert result.error.error_type == "input_error"
    assert message in result.error.error_message


def test_the_number_of_cores_is_honoured_and_restored(model, monkeypatch):
    seen, before = [], torch.get_num_threads()
    original = MLFFHarness._compute

    def watching(self, input_data):
        seen.append(torch.get_num_threads())
        return original(self, input_data)

    monkeypatch.setattr(MLFFHarness, "_compute", watching)
    other = 2 if before == 1 else 1
    qcengine.compute(v1(model), "mlff", raise_error=True, task_config={"ncores": other})
    assert seen == [other]
    assert torch.get_num_threads() == before


def test_a_model_file_that_changes_is_loaded_again_and_one_that_does_not_is_kept(tmp_path):
    student = small_student()
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    keywords = {"device": "cpu", "dtype": "float64", "kernel": "auto"}
    first = MLFFHarness.load(str(path), keywords)
    assert MLFFHarness.load(str(path), keywords) is first
    assert MLFFHarness.load(str(tmp_path / "." / "model.pt"), keywords) is first
    (tmp_path / "link.pt").symlink_to(path)
    assert MLFFHarness.load(str(tmp_path / "link.pt"), keywords) is first
    with torch.no_grad():
        student.model.embedding.weight.add_(0.1)
    save_checkpoint(path, student.model, student.card)
    os.utime(path, ns=(1, 1))
    second = MLFFHarness.load(str(path), keywords)
    assert second is not first
    batch = single(ethanol().positions, ethanol().numbers)
    assert float(second.predict(batch).energy) != float(first.predict(batch).energy)


def test_uncertainty_is_in_the_extras_in_atomic_units():
    members = [small_student(seed=seed, dtype=torch.float64, kernel="reference") for seed in (0, 1)]
    ensemble = Ensemble(members, Calibration(energy=2.0, forces=3.0))
    atoms = ethanol()
    wanted = ensemble.predict(single(atoms.positions, atoms.numbers, dtype=torch.float64), want=WITH_SPREAD)
    result = qcengine.compute(v1(served(ensemble), "gradient"), "mlff", raise_error=True)
    extras = result.extras["mlff"]
    assert extras["energy_std_hartree"] == pytest.approx(float(wanted.energy_std) / EV_PER_HARTREE, rel=1e-5)
    unit = EV_PER_HARTREE / ANGSTROM_PER_BOHR
    np.testing.assert_allclose(extras["gradient_std_hartree_per_bohr"], wanted.forces_std.numpy() / unit, rtol=1e-4)
    assert "energy_std_hartree" not in qcengine.compute(v1(served(members[0])), "mlff").extras["mlff"]


def test_registering_twice_does_no_harm():
    register()
    assert "mlff" in qcengine.list_available_programs()


def run(*arguments, stdin=None):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mlff_core.cli", "qcengine", *arguments],
        input=stdin, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_command_exits_with_1_on_failure_and_0_on_success(model, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(v1(model, "gradient")))
    bad.write_text(json.dumps(v1("no-such-model.pt")))
    done = run("run", "mlff", str(good))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["success"]
    failed = run("run", "mlff", str(bad))
    assert failed.returncode == 1
    assert not json.loads(failed.stdout)["success"]


@pytest.mark.parametrize("content", [None, "no JSON"])
def test_an_input_that_is_no_json_is_one_line(tmp_path, content):
    path = tmp_path / "input.json"
    if content is not None:
        path.write_text(content)
    failed = run("run", "mlff", str(path))
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: ")
    assert "is not JSON" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1


def test_info_names_the_program():
    done = run("info", "programs")
    assert done.returncode == 0, done.stderr
    assert "mlff" in done.stdout.lower()


def served(potential):
    register()
    return MLFFHarness.serve(potential)


def test_geometric_finds_the_minimum_that_bfgs_finds(folder):
    pytest.importorskip("geometric")
    potential = PairPotential(dtype=torch.float64)
    atoms = ethanol()
    atoms.calc = MLFFCalculator(potential)
    BFGS(atoms, logfile=None).run(fmax=1e-4, steps=500)
    task = {
        "keywords": {"program": "mlff", "coordsys": "cart", "convergence_set": "GAU_TIGHT", "maxiter": 300},
        "input_specification": {"driver": "gradient", "model": {"method": served(potential)}},
        "initial_molecule": molecule(),
    }
    result = qcengine.compute_procedure(task, "geometric", raise_error=True)
    assert result.energies[-1] * EV_PER_HARTREE == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    assert (folder / "qce_optim.xyz").exists()  # else the fixture has become needless


def test_a_torsiondrive_equals_ases_constrained_scan_of_the_same_model():
    pytest.importorskip("geometric")
    pytest.importorskip("torsiondrive")
    pytest.importorskip("tblite")
    # A pair potential has no torsions to speak of; any potential is served as a student is.
    potential = plugins.teacher("gfn2-xtb").load()
    peroxide, dihedral = ase_molecule("H2O2"), [2, 0, 1, 3]
    task = {
        "keywords": {"dihedrals": [dihedral], "grid_spacing": [60], "dihedral_ranges": [[60, 180]]},
        "optimization_spec": {"procedure": "geometric", "keywords": {"program": "mlff", "coordsys": "dlc"}},
        "input_specification": {"driver": "gradient", "model": {"method": served(potential)}},
        "initial_molecule": [molecule(peroxide) | {"connectivity": [(0, 1, 1), (0, 2, 1), (1, 3, 1)]}],
    }
    result = qcengine.compute_procedure(task, "torsiondrive", raise_error=True)
    driven = {int(angle): energy * EV_PER_HARTREE for angle, energy in result.final_energies.items()}
    assert sorted(driven) == [60, 120, 180]
    for angle, energy in driven.items():
        peroxide.calc = MLFFCalculator(potential)
        peroxide.set_dihedral(*dihedral, angle, indices=[3])
        peroxide.set_constraint(FixInternals(dihedrals_deg=[[angle, dihedral]]))
        assert BFGS(peroxide, logfile=None).run(fmax=1e-3, steps=200)
        peroxide.set_constraint()
        assert energy == pytest.approx(peroxide.get_potential_energy(), abs=0.05 / KCAL_MOL_PER_EV)
    assert np.ptp(list(driven.values())) * KCAL_MOL_PER_EV > 1.0


def test_the_script_of_the_page_runs(model):
    script = Path(__file__).parents[2] / "examples" / "engines" / "qcengine_gradient.py"
    line = [sys.executable, "-W", "ignore", str(script), str(model)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(" hartree")
    assert done.stdout.endswith("hartree/bohr\n")


def test_harmonic_frequencies_equal_ases_on_the_same_model():
    potential = PairPotential(dtype=torch.float64)
    atoms = ethanol()
    atoms.calc = MLFFCalculator(potential)
    BFGS(atoms, logfile=None).run(fmax=1e-5, steps=1000)
    task = v1(served(potential), "hessian") | {"molecule": molecule(atoms)}
    hessian = np.asarray(qcengine.compute(task, "mlff", raise_error=True).return_result)
    ours = hessian.reshape(27, 27) * EV_PER_HARTREE / ANGSTROM_PER_BOHR**2
    found = VibrationsData.from_2d(atoms, ours).get_frequencies()
    expected = VibrationsData.from_2d(atoms, _difference_hessian(atoms)).get_frequencies()
    np.testing.assert_allclose(found.real, expected.real, atol=0.5)


def _difference_hessian(atoms: Atoms, step=1e-4):
    rows = []
    for k in range(3 * len(atoms)):
        forces = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions.reshape(-1)[k] += sign * step
            forces.append(moved.get_forces().ravel())
        rows.append((forces[1] - forces[0]) / (2 * step))
    hessian = np.array(rows)
    return 0.5 * (hessian + hessian.T)


def test_charges_and_the_dipole_of_a_student_are_extras(tmp_path):
    student = small_student()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        student.model.charges = ChargeReadout(student.model.n_features).requires_grad_(False)
    path = save_checkpoint(tmp_path / "charged.pt", student.model, student.card)
    extras = qcengine.compute(v1(path), "mlff", raise_error=True).extras["mlff"]
    expected = load(path, device="cpu", dtype="float64").predict(
        batch_from_atoms(ethanol(), dtype=torch.float64), want=("charges", "dipole")
    )
    np.testing.assert_allclose(extras["charges_e"], expected.charges, atol=1e-5)
    dipole = np.array(extras["dipole_e_bohr"]) * ANGSTROM_PER_BOHR
    np.testing.assert_allclose(dipole, expected.dipole[0], atol=1e-4)
    assert np.linalg.norm(dipole) > 0.01
