"""``create_force`` in simulations: energy conservation, subsets, boxes, and errors with the package's messages.

Over 300 lines, in one file because its tests share the simulations of one molecule.
"""

from dataclasses import replace

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit

pytest.importorskip("openmmtorch")

from mlff_core.errors import CheckpointError, InputError, UnsupportedError
from mlff_core.model.scripted_neighbors import ScriptedNeighbors
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.structures.neighbors import find_neighbors
from mlff_core.testing import PairPotential, small_student, structures
from mlff_core.testing.counting import count_elements
from mlff_core.units import ANGSTROM_PER_NM, KJ_MOL_PER_EV
from mlff_plugins.benchmark.systems import water_box
from mlff_plugins.openmm import create_force
from mlff_plugins.openmm.convert import reduced_box
from mlff_plugins.openmm.force import choose_backend
from mlff_plugins.openmm.script_module import ForceModule

BACKENDS = ["torchforce", "pythonforce"]
FORCE = KJ_MOL_PER_EV * ANGSTROM_PER_NM


def context_of(atoms, force, platform="CPU", timestep_fs=0.25):
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    rotation = np.eye(3)
    if atoms.pbc.all():
        box, rotation = reduced_box(atoms.cell)
        system.setDefaultPeriodicBoxVectors(*(box / ANGSTROM_PER_NM))
    system.addForce(force)
    integrator = openmm.VerletIntegrator(timestep_fs * unit.femtosecond)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
    context.setPositions(atoms.positions @ rotation / ANGSTROM_PER_NM)
    return context


def energy_of(context):
    return context.getState(energy=True).getPotentialEnergy()._value / KJ_MOL_PER_EV


def relaxed(atoms):
    """Return the structure near a minimum, so that it stays together with random weights."""
    from ase.optimize import FIRE

    from mlff_plugins.ase import MLFFCalculator

    atoms = atoms.copy()
    atoms.calc = MLFFCalculator(small_student(dtype=torch.float64, kernel="reference"))
    FIRE(atoms, logfile=None).run(fmax=0.2, steps=100)
    atoms.calc = None
    return atoms


@pytest.fixture(scope="module", params=["molecule", "triclinic crystal"])
def at_rest(request):
    return relaxed({"molecule": structures.ethanol, "triclinic crystal": structures.triclinic_crystal}[request.param]())


@pytest.mark.parametrize("backend", BACKENDS)
def test_nve_conserves_energy_better_the_shorter_the_step(at_rest, backend):
    student = small_student(dtype=torch.float64, kernel="reference")
    spread = {}
    for timestep_fs in (0.2, 0.05):
        force = create_force(student, at_rest.numbers, backend=backend, periodic=bool(at_rest.pbc.all()))
        context = context_of(at_rest, force, "Reference", timestep_fs)
        context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
        totals = []
        for _ in range(20):
            context.getIntegrator().step(round(1 / timestep_fs))
            state = context.getState(energy=True)
            totals.append((state.getPotentialEnergy() + state.getKineticEnergy())._value / KJ_MOL_PER_EV)
        spread[timestep_fs] = np.ptp(totals)
    # Kinetic energy is 3N/2 kT = 0.35 to 0.47 eV; the error of velocity Verlet falls with the square of the step.
    assert spread[0.2] < 5e-3
    assert spread[0.05] < spread[0.2] / 8


def test_both_backends_run_the_same_trajectory(at_rest):
    student = small_student(dtype=torch.float64, kernel="reference")
    ends = []
    for backend in BACKENDS:
        force = create_force(student, at_rest.numbers, backend=backend, periodic=bool(at_rest.pbc.all()))
        context = context_of(at_rest, force, "Reference")
        context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
        context.getIntegrator().step(100)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    assert np.abs(ends[0] - ends[1]).max() < 1e-9


@pytest.mark.parametrize(
    "atoms",
    [
        structures.ethanol(),
        structures.cluster(60),
        structures.one_atom(),
        structures.small_cell(),
        structures.triclinic_crystal(),
        structures.moved_by_lattice_vectors(structures.triclinic_crystal()),
        structures.triclinic_crystal().repeat((4, 3, 2)),
    ],
    ids=["molecule", "cluster", "atom", "small cell", "crystal", "moved by lattice vectors", "large crystal"],
)
@pytest.mark.parametrize("skin", [0.0, 1.0])
def test_the_scripted_search_finds_the_same_edges(atoms, skin):
    search = torch.jit.script(ScriptedNeighbors(5.0, skin))
    random = np.random.RandomState(3)
    for _ in range(3):
        batch = structures.to_batch(atoms)
        centers, neighbors, shifts = search(batch.positions, batch.cell[0], bool(atoms.pbc.all()))
        wanted = find_neighbors(batch, 5.0)
        found = torch.cat([centers[:, None], neighbors[:, None], shifts.round().long()], dim=1)
        expected = torch.cat([wanted.centers[:, None], wanted.neighbors[:, None], wanted.cell_shifts.long()], dim=1)
        assert sorted(found.tolist()) == sorted(expected.tolist())
        atoms = atoms.copy()
        atoms.positions += random.normal(scale=0.1, size=(len(atoms), 3))


def test_the_scripted_search_is_made_only_when_an_atom_has_moved_by_half_the_skin():
    search = torch.jit.script(ScriptedNeighbors(5.0, 1.0))
    batch = structures.to_batch(structures.triclinic_crystal())
    positions, cell = batch.positions.clone(), batch.cell[0]
    for shift, builds in ((0.0, 1), (0.3, 1), (0.19, 1), (0.02, 2), (0.4, 2)):
        positions[2, 1] += shift
        search(positions, cell, True)
        assert int(search.n_builds) == builds
    search(positions, cell * 1.001, True)
    assert int(search.n_builds) == 3


def test_the_work_of_a_search_grows_with_the_atoms_and_not_with_their_square():
    search = ScriptedNeighbors(5.0, 1.0)
    handled, found = [], []
    for n_molecules in (125, 343, 729):
        atoms = water_box(n_molecules)
        with count_elements() as counted:
            centers, _, _ = search.search(torch.from_numpy(atoms.positions), torch.from_numpy(atoms.cell.array), True)
        handled.append(counted.n / len(atoms))
        found.append(len(centers) / len(atoms))
    # A search through all pairs would handle 2.7 and 5.8 times the numbers for an atom.
    assert max(handled) < 1.3 * min(handled)
    assert found == pytest.approx([found[0]] * 3, rel=0.1)


def test_the_work_of_a_step_grows_with_the_atoms():
    student = small_student(kernel="reference")
    handled = []
    for n_molecules in (125, 343):
        atoms = water_box(n_molecules)
        module = ForceModule(student.model, torch.from_numpy(atoms.numbers), torch.empty(0), True, 1.0)
        positions_nm, box_nm = (torch.from_numpy(a / ANGSTROM_PER_NM) for a in (atoms.positions, atoms.cell.array))
        module(positions_nm, box_nm)
        with count_elements() as counted:
            module(positions_nm, box_nm)
        handled.append(counted.n / len(atoms))
    assert handled[1] == pytest.approx(handled[0], rel=0.05)


def test_an_atom_that_has_flown_off_does_no_harm():
    search = torch.jit.script(ScriptedNeighbors(5.0, 1.0))
    batch = structures.to_batch(structures.ethanol())
    positions = batch.positions.clone()
    positions[8] = 1e9
    centers, neighbors, _ = search(positions, batch.cell[0], False)
    assert len(centers) == 8 * 7
    assert 8 not in torch.cat([centers, neighbors]).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_subset_of_atoms_sees_itself_only(backend):
    student, molecule = small_student(dtype=torch.float64, kernel="reference"), structures.ethanol()
    chosen = [8, 2, 0, 1]
    wanted = student.predict(structures.to_batch(molecule[chosen]))
    context = context_of(molecule, create_force(student, molecule.numbers, atoms=chosen, backend=backend))
    forces = context.getState(forces=True).getForces(asNumpy=True)._value / FORCE
    assert energy_of(context) == pytest.approx(float(wanted.energy), abs=1e-7)
    assert np.abs(forces[chosen] - wanted.forces.numpy()).max() < 1e-6
    assert np.abs(np.delete(forces, chosen, axis=0)).max() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_topology_gives_species_and_periodicity(backend):
    student, atoms = small_student(dtype=torch.float64, kernel="reference"), structures.triclinic_crystal()
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for number in atoms.numbers:
        topology.addAtom("X", app.Element.getByAtomicNumber(int(number)), residue)
    topology.setPeriodicBoxVectors(reduced_box(atoms.cell)[0] / ANGSTROM_PER_NM * unit.nanometer)
    periodic, isolated = (
        create_force(student, topology, backend=backend),
        create_force(student, topology, backend=backend, periodic=False),
    )
    assert periodic.usesPeriodicBoundaryConditions()
    assert not isolated.usesPeriodicBoundaryConditions()
    batch = structures.to_batch(atoms)
    assert energy_of(context_of(atoms, periodic)) == pytest.approx(float(student.predict(batch).energy), abs=1e-7)
    atoms.pbc = False
    batch = structures.to_batch(atoms)
    assert energy_of(context_of(atoms, isolated)) == pytest.approx(float(student.predict(batch).energy), abs=1e-7)


def topology_of(atoms, charges):
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for number, charge in zip(atoms.numbers, charges, strict=True):
        topology.addAtom("X", app.Element.getByAtomicNumber(int(number)), residue).formalCharge = charge
    return topology


@pytest.mark.parametrize("backend", BACKENDS)
def test_formal_charges_of_a_topology_are_the_total_charge(backend):
    atoms = structures.ethanol()
    student = small_student(dtype=torch.float64, kernel="reference")
    ion = topology_of(atoms, [None, None, -1, *[None] * 6])
    with pytest.raises(UnsupportedError, match="total charge is -1 e"):
        create_force(student, ion, backend=backend)
    with pytest.raises(InputError, match=r"charge = \+0 e was given, but the formal charges .* add up to -1 e"):
        create_force(student, ion, backend=backend, charge=0)
    with pytest.raises(InputError, match="add up to -2 e"):
        create_force(student, topology_of(atoms, [-1, -1, *[0] * 7]), backend=backend, charge=-1)
    # Of the chosen atoms only, and a zwitterion is neutral.
    create_force(student, ion, backend=backend, atoms=[0, 1, 3])
    for charges in ([None] * 9, [0] * 9, [1, None, -1, *[None] * 6]):
        force = create_force(student, topology_of(atoms, charges), backend=backend, charge=0)
        wanted = float(student.predict(structures.to_batch(atoms)).energy)
        assert energy_of(context_of(atoms, force)) == pytest.approx(wanted, abs=1e-7)


def test_an_odd_number_of_electrons_is_refused_before_the_run():
    student = small_student()
    student.card = replace(student.card, spin_multiplicities="closed shell")
    with pytest.raises(UnsupportedError, match=r"at a total charge of \+0 e the structure has 9 electrons"):
        create_force(student, [8, 1])


def test_a_barostat_changes_the_box_that_the_model_sees():
    student, atoms = small_student(dtype=torch.float64, kernel="reference"), structures.triclinic_crystal()
    for backend in BACKENDS:
        context = context_of(atoms, create_force(student, atoms.numbers, backend=backend, periodic=True))
        energy_of(context)
        box = 1.03 * reduced_box(atoms.cell)[0] / ANGSTROM_PER_NM
        context.setPeriodicBoxVectors(*box)
        stretched = atoms.copy()
        stretched.set_cell(1.03 * atoms.cell)
        wanted = student.predict(structures.to_batch(stretched))
        assert energy_of(context) == pytest.approx(float(wanted.energy), abs=1e-7)


def test_a_model_file_is_opened_by_its_path(tmp_path):
    student, molecule = small_student(), structures.ethanol()
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    for backend in BACKENDS:
        context = context_of(molecule, create_force(str(path), molecule.numbers, backend=backend))
        assert energy_of(context) == pytest.approx(float(student.predict(structures.to_batch(molecule)).energy))
    with pytest.raises(CheckpointError):
        create_force("no-such-model.pt", molecule.numbers)


def test_auto_takes_torchforce_for_students_and_pythonforce_for_all_else():
    assert choose_backend(small_student(kernel="reference")) == "torchforce"
    assert choose_backend(PairPotential()) == "pythonforce"


@pytest.mark.parametrize(
    ("numbers", "options", "error", "message"),
    [
        ([6, 92], {}, UnsupportedError, "does not know U"),
        ([], {}, InputError, "no atoms"),
        ([6, 0], {}, InputError, "particle 1 has no element"),
        ([6, 1], {"atoms": [0, 2]}, InputError, r"indices of 0–1, got \[2\]"),
        ([6, 1], {"atoms": [0, 0]}, InputError, "an index twice"),
        ([6, 1], {"backend": "abacus"}, InputError, "abacus"),
        ([6, 1], {"skin": -1}, InputError, "skin"),
        ([6, 1], {"charge": 1}, UnsupportedError, "neutral"),
        ([6, 1], {"spin_multiplicity": 2}, UnsupportedError, "singlets"),
    ],
)
def test_what_cannot_be_served_is_our_error_at_once(numbers, options, error, message):
    with pytest.raises(error, match=message):
        create_force(small_student(), numbers, **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_faults_in_a_run_are_openmms_exception_with_our_message(backend):
    molecule = structures.ethanol()
    context = context_of(molecule, create_force(small_student(), molecule.numbers, backend=backend), "Reference")
    good = energy_of(context)
    for atom, place, message in ((4, [np.nan, 0, 0], "must be finite"), (5, molecule.positions[3] + 0.165, "overlap")):
        moved = molecule.positions.copy()
        if message == "overlap":  # in small steps, since a jump is a minimiser's
            for k in range(1, 40):
                moved[atom] = molecule.positions[atom] + k / 40 * (place - molecule.positions[atom])
                context.setPositions(moved / ANGSTROM_PER_NM)
                if np.linalg.norm(moved[atom] - molecule.positions[3]) > 0.3:
                    energy_of(context)
        moved[atom] = place
        context.setPositions(moved / ANGSTROM_PER_NM)
        with pytest.raises(openmm.OpenMMException, match=message):
            context.getState(energy=True, forces=True)
        context.setPositions(molecule.positions / ANGSTROM_PER_NM)
        assert energy_of(context) == pytest.approx(good, rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_are_there_inside_no_grad(backend):
    molecule = structures.ethanol()
    context = context_of(molecule, create_force(small_student(), molecule.numbers, backend=backend))
    with torch.no_grad():
        inside = context.getState(forces=True).getForces(asNumpy=True)._value
        assert not torch.is_grad_enabled()
    outside = context.getState(forces=True).getForces(asNumpy=True)._value
    assert np.abs(inside).max() > 1
    assert np.allclose(inside, outside, rtol=1e-4, atol=1e-2)


def test_a_torchforce_that_is_not_told_of_its_box_says_so():
    force = create_force(small_student(), [6, 8], backend="torchforce", periodic=True)
    force.setUsesPeriodicBoundaryConditions(False)
    context = context_of(structures.small_cell(), force, "Reference")
    with pytest.raises(openmm.OpenMMException, match="setUsesPeriodicBoundaryConditions"):
        energy_of(context)


def test_a_system_with_a_pythonforce_survives_being_written_to_xml():
    molecule, student = structures.ethanol(), small_student()
    system = openmm.System()
    for _ in molecule:
        system.addParticle(1.0)
    system.addForce(create_force(student, molecule.numbers, backend="pythonforce"))
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(again, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(molecule.positions / ANGSTROM_PER_NM)
    assert energy_of(context) == pytest.approx(float(student.predict(structures.to_batch(molecule)).energy))
