"""torch-sim: the contract, its own check of models, and runs by its integrators."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch_sim = pytest.importorskip("torch_sim")

import torch
from ase import Atoms
from ase.build import bulk
from torch_sim.models.interface import validate_model_outputs

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import preset
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.potentials.interface import CHARGES, Potential
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.prediction import Prediction
from mlff_core.testing import EngineContract, PairPotential, charged_student, small_student, structures
from mlff_plugins.torchsim import TorchSimEngine, TorchSimModel

# Triton reads it when it is imported: where there is no GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
IS_OLD = not hasattr(torch_sim, "Integrator")


class TestTorchSimContract(EngineContract):
    engine = TorchSimEngine()


def student_of_metals(kernel="auto", dtype=torch.float32):
    """Return a student of the elements in torch-sim's own check."""
    config = preset("ultra-tiny", elements=(1, 6, 12, 14, 26))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PaiNN(config)
    card = ModelCard(name="metals", elements=config.elements, cutoff=config.cutoff)
    return StudentPotential(model, card, kernel=kernel, dtype=dtype)


def state_of(frames, model):
    return torch_sim.io.atoms_to_state(frames, model.device, model.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", ["auto", "reference"])
def test_torch_sims_own_check_of_models_is_passed(kernel, dtype):
    model = TorchSimModel(student_of_metals(kernel, dtype))
    validate_model_outputs(model, model.device, model.dtype)


def test_crystals_of_different_cells_in_one_state_have_the_numbers_of_predict():
    potential = PairPotential(dtype=torch.float64)
    model = TorchSimModel(potential)
    frames = [structures.triclinic_crystal(), structures.small_cell(), structures.triclinic_crystal() * (2, 1, 1)]
    found = model(state_of(frames, model))
    wanted = potential.predict(structures.to_batch(frames), want=("energy", "forces", "stress"))
    for name in ("energy", "forces", "stress"):
        torch.testing.assert_close(found[name], getattr(wanted, name), rtol=1e-10, atol=1e-10)


def test_a_molecule_has_no_stress_and_says_so_by_nan():
    model = TorchSimModel(small_student())
    assert model(state_of([structures.ethanol()], model))["stress"].isnan().all()
    model.compute_stress = False
    assert "stress" not in model(state_of([structures.ethanol()], model))


def test_a_dictionary_is_as_good_as_a_state():
    model = TorchSimModel(small_student())
    state = state_of([structures.ethanol()], model)
    names = ("positions", "cell", "pbc", "atomic_numbers", "system_idx")
    assert torch.equal(model({name: getattr(state, name) for name in names})["forces"], model(state)["forces"])


def test_a_charge_in_the_state_reaches_the_model():
    model = TorchSimModel(small_student())
    state = state_of([structures.ethanol()], model)
    state.charge = torch.ones(1)
    with pytest.raises(UnsupportedError, match="charge"):
        model(state)


def test_a_spin_in_the_state_is_a_singlet_or_refused():
    model = TorchSimModel(small_student())
    state = state_of([structures.ethanol()], model)
    state.spin = torch.zeros(1)
    model(state)
    state.spin = torch.ones(1)
    with pytest.raises(InputError, match="a spin of 1 may mean S, 2S or 2S"):
        model(state)


def test_a_model_without_stress_is_found_out_by_torch_sim():
    class WithoutStress(Potential):
        supports = frozenset({"energy", "forces"})

        def __init__(self):
            self.card = PairPotential().card
            self.device, self.dtype = torch.device("cpu"), torch.float32

        def predict_checked(self, batch, want, edges=None):
            return Prediction(torch.zeros(batch.n_systems, dtype=torch.float64), torch.zeros_like(batch.positions))

    model = TorchSimModel(WithoutStress())
    assert not model.compute_stress
    with pytest.raises(NotImplementedError):
        model.compute_stress = True
    assert set(model(state_of([structures.triclinic_crystal()], model))) == {"energy", "forces"}


def test_a_run_at_constant_energy_conserves_it_for_each_system():
    model = TorchSimModel(PairPotential(dtype=torch.float64))
    frames = []
    for k in range(4):
        frames.append(structures.cluster(20))
        frames[-1].rattle(0.02, seed=k)
    integrator = torch_sim.nve if IS_OLD else torch_sim.Integrator.nve

    def total(state):
        kinetic = torch.zeros_like(state.energy)
        per_atom = 0.5 * (state.momenta**2).sum(dim=1) / state.masses
        return state.energy + kinetic.index_add(0, state.system_idx, per_atom)

    def run(n_steps):
        torch.manual_seed(0)
        run = {"timestep": 0.0002, "temperature": 20}
        return torch_sim.integrate(frames, model, integrator=integrator, n_steps=n_steps, **run)

    drift = (total(run(60)) - total(run(1))).abs() / 20
    assert drift.max() < 2e-4
    # The neighbours are kept under a skin, not searched at every step.
    assert 0 < model.n_searches < 30


def test_a_run_on_the_gpu_kernels_searches_where_it_computes(monkeypatch):
    pytest.importorskip("triton")
    config = PaiNNConfig(elements=(1, 8), hidden=16, n_layers=1, n_radial=4, cutoff=2.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PaiNN(config)
    card = ModelCard(name="small", elements=config.elements, cutoff=config.cutoff)
    frames = [Atoms("OH", [[0, 0, 0], [1.0, 0, 0]]), Atoms("H2", [[0, 0, 0], [0.8, 0, 0]])]
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def run(kernel):
        model = TorchSimModel(StudentPotential(network, card, kernel=kernel, dtype=torch.float64, device=device))
        torch.manual_seed(0)
        integrator = torch_sim.nve if IS_OLD else torch_sim.Integrator.nve
        return torch_sim.integrate(frames, model, integrator=integrator, n_steps=3, timestep=0.0005, temperature=100)

    truth = run("reference")
    monkeypatch.setattr("mlff_core.potentials.interface.find_neighbors", None)
    monkeypatch.setattr("mlff_core.structures.neighbors.find_neighbors", None)
    given = run("triton")
    torch.testing.assert_close(given.positions, truth.positions, rtol=0, atol=1e-9)
    torch.testing.assert_close(given.energy, truth.energy, rtol=1e-9, atol=1e-9)


def test_its_cell_relaxation_takes_the_pressure_out_of_crystals():
    model = TorchSimModel(PairPotential(dtype=torch.float64))
    crystals = [bulk("Cl", "fcc", a=a, cubic=True) for a in (3.9, 4.0)]
    before = model(state_of(crystals, model))["stress"].diagonal(dim1=1, dim2=2).abs().amax(dim=1)
    options = (
        {"optimizer": torch_sim.frechet_cell_fire}
        if IS_OLD
        else {"optimizer": torch_sim.Optimizer.fire, "init_kwargs": {"cell_filter": torch_sim.CellFilter.frechet}}
    )
    converged = torch_sim.generate_force_convergence_fn(0.01, include_cell_forces=True)
    state = torch_sim.optimize(crystals, model, convergence_fn=converged, max_steps=300, **options)
    after = state.stress.diagonal(dim1=1, dim2=2).abs().amax(dim=1)
    assert bool((after < 0.1 * before).all()), (before, after)


def test_the_script_of_the_page_runs(tmp_path):
    student = small_student()
    save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    script = Path(__file__).parents[2] / "examples" / "engines" / "torchsim_batched_nvt.py"
    done = subprocess.run(
        [sys.executable, str(script), "model.pt"], capture_output=True, text=True, timeout=240, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("eV") == 2


def test_charges_and_dipoles_are_outputs_on_request_and_reach_a_trajectory():
    student = charged_student(dtype=torch.float64)
    model, frames = TorchSimModel(student), [structures.ethanol(), structures.cluster(30)]
    state = state_of(frames, model)
    assert {"charges", "dipole"}.isdisjoint(model(state))
    model.compute_charges = True
    found, wanted = model(state), student.predict(structures.to_batch(frames).to("cpu", torch.float64), want=CHARGES)
    torch.testing.assert_close(found["charges"], wanted.charges)
    torch.testing.assert_close(found["dipole"], wanted.dipole)
    reporter = {"filenames": None, "prop_calculators": {1: {"dipole": lambda state, model: model(state)["dipole"]}}}
    reported = torch_sim.static(state, model, trajectory_reporter=reporter)
    torch.testing.assert_close(torch.cat([of_system["dipole"] for of_system in reported]), wanted.dipole)
    crystal = model(state_of([structures.triclinic_crystal()], model))
    assert "charges" in crystal
    assert "dipole" not in crystal
    with pytest.raises(NotImplementedError, match="cannot give charges"):
        TorchSimModel(small_student()).compute_charges = True
