"""Interaction of ions with water by mechanical and electrostatic embedding in OpenMM, beside the teacher's.

    python -m benchmarks openmm_embedding MODEL [--snapshots 100] [--every 200] [--teacher gfn2-xtb] [--json FILE]

Each ion is in a droplet of 60 TIP3P waters with electrostatic embedding: 300 K, 1 fs, snapshots after 2 ps. A cluster
is the ion and the waters whose oxygen is within 5 Å of one of its atoms. The interaction is the energy of the cluster
minus those of the ion and of all its waters alone, in the same geometry. The composite teacher ``fragments`` takes it
from GFN2-xTB: all that it has within molecules cancels. The force field is the Lennard-Jones part of OPLS-AA and TIP3P,
the same for all, with these charges of the ion: OPLS-AA's, the mean of the student's (both fixed, as in
mechanical embedding), and the student's at each geometry (electrostatic embedding). Charges are shifted to the ion's.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import openmm
import torch
from openmm import app, unit

from benchmarks.command import parser, use_threads, write
from mlff_core import load
from mlff_core.plugins import host as plugins
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import single
from mlff_core.structures.smiles import structure_of
from mlff_core.units import ANGSTROM_PER_NM, KCAL_MOL_PER_EV
from mlff_plugins.openmm import create_mixed_system
from mlff_plugins.openmm.point_charges import COULOMB_KJ_MOL_NM

KJ_PER_KCAL = 4.184
N_WATERS, REACH = 60, 5.0
"""Waters in a droplet, and the distance of oxygens in a cluster, Å."""

HYDROGEN = (0.06, 0.25, 0.12552)
POLAR_HYDROGEN = (0.1, 0.0)
IONS: dict[str, tuple[str, int, list[tuple[float, float, float]]]] = {
    "acetate": (
        "CC(=O)[O-]",
        -1,
        [(-0.28, 0.35, 0.276144), (0.70, 0.375, 0.43932), *[(-0.80, 0.296, 0.87864)] * 2, *[HYDROGEN] * 3],
    ),
    "ethylammonium": (
        "CC[NH3+]",
        1,
        [
            (-0.18, 0.35, 0.276144),
            (0.19, 0.35, 0.276144),
            (-0.30, 0.325, 0.71128),
            *[HYDROGEN] * 5,
            *[(0.33, *POLAR_HYDROGEN)] * 3,
        ],
    ),
    "3-hydroxypropanoate": (
        "OCCC(=O)[O-]",
        -1,
        [
            (-0.683, 0.312, 0.71128),
            (0.145, 0.35, 0.276144),
            (-0.22, 0.35, 0.276144),
            (0.70, 0.375, 0.43932),
            *[(-0.80, 0.296, 0.87864)] * 2,
            (0.418, *POLAR_HYDROGEN),
            *[HYDROGEN] * 4,
        ],
    ),
}
"""SMILES, charge, and OPLS-AA's charge (e), σ (nm) and ε (kJ/mol) of each atom."""
WATER = ((-0.834, 0.31507524065751241, 0.635968), (0.417, 0.1, 0.0), (0.417, 0.1, 0.0))


def force_field(name: str, topology: app.Topology) -> app.ForceField:
    """Return TIP3P and the ion's Lennard-Jones terms and charges."""
    atoms, values = list(topology.atoms()), IONS[name][2]
    types = "".join(f'<Type name="i{k}" class="i{k}" element="{a.element.symbol}" mass="{a.element.mass._value}"/>'
                    for k, a in enumerate(atoms))  # fmt: skip
    names = "".join(f'<Atom name="{a.name}" type="i{k}"/>' for k, a in enumerate(atoms))
    bonds = "".join(f'<Bond atomName1="{b.atom1.name}" atomName2="{b.atom2.name}"/>' for b in topology.bonds())
    pairs = "".join(f'<Atom type="i{k}" charge="{q}" sigma="{s}" epsilon="{e}"/>' for k, (q, s, e) in enumerate(values))
    text = (
        f"<ForceField><AtomTypes>{types}</AtomTypes><Residues><Residue name='ION'>{names}{bonds}</Residue></Residues>"
        f"<NonbondedForce coulomb14scale='0.833333' lj14scale='0.5'>{pairs}</NonbondedForce></ForceField>"
    )
    return app.ForceField("tip3p.xml", io.StringIO(text))


def ion_topology(name: str) -> tuple[app.Topology, np.ndarray]:
    """Return topology and positions, nm, of the ion."""
    atoms = structure_of(IONS[name][0])
    topology = app.Topology()
    residue = topology.addResidue("ION", topology.addChain())
    made = [topology.addAtom(f"{s}{k}", app.Element.getBySymbol(s), residue) for k, s in enumerate(atoms.symbols)]
    distances = atoms.get_all_distances()
    for i in range(len(atoms)):
        for j in range(i):
            if distances[i, j] < (1.25 if "H" in (atoms.symbols[i], atoms.symbols[j]) else 1.8):
                topology.addBond(made[j], made[i])
    return topology, (atoms.positions - atoms.positions.mean(axis=0)) / ANGSTROM_PER_NM


def droplet(name: str, potential: Potential) -> tuple[app.Simulation, int]:
    """Return a simulation of the ion in water, minimised, and the ion's number of atoms."""
    topology, positions = ion_topology(name)
    n_ion = topology.getNumAtoms()
    fields = force_field(name, topology)
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.addSolvent(fields, boxSize=openmm.Vec3(2, 2, 2) * unit.nanometer, neutralize=False)
    places = np.array(modeller.positions.value_in_unit(unit.nanometer))
    middle = places[:n_ion].mean(axis=0)
    waters = [residue for residue in modeller.topology.residues() if residue.name == "HOH"]
    far = sorted(waters, key=lambda one: np.linalg.norm(places[next(one.atoms()).index] - middle))[N_WATERS:]
    modeller.delete(far)
    modeller.topology.setPeriodicBoxVectors(None)
    system = fields.createSystem(modeller.topology, nonbondedMethod=app.NoCutoff, rigidWater=True)
    wall = openmm.CustomExternalForce("500*max(0, sqrt(x^2 + y^2 + z^2) - 0.85)^2")
    centre = openmm.CustomExternalForce("20*(x^2 + y^2 + z^2)")
    for atom in modeller.topology.atoms():
        if atom.index < n_ion:
            centre.addParticle(atom.index)
        elif atom.element.symbol == "O":
            wall.addParticle(atom.index)
    system.addForce(wall), system.addForce(centre)
    mixed = create_mixed_system(
        modeller.topology, system, range(n_ion), potential, embedding="electrostatic", charge=IONS[name][1]
    )
    integrator = openmm.LangevinMiddleIntegrator(300, 2, 0.001)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(modeller.topology, mixed, integrator, openmm.Platform.getPlatformByName("CPU"))
    places = np.array(modeller.positions.value_in_unit(unit.nanometer))
    simulation.context.setPositions(places - places[:n_ion].mean(axis=0))
    simulation.minimizeEnergy(maxIterations=200)
    simulation.context.setVelocitiesToTemperature(300, 1)
    return simulation, n_ion


def cluster(simulation: app.Simulation, n_ion: int) -> np.ndarray:
    """Return the positions of the ion and then of the waters near it, Å."""
    state = simulation.context.getState(positions=True)
    places = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    ion, waters = places[:n_ion], places[n_ion:].reshape(-1, 3, 3)
    near = np.linalg.norm(waters[:, None, 0] - ion[None], axis=2).min(axis=1) < REACH
    return np.concatenate([ion, waters[near].reshape(-1, 3)])


def energy(teacher: Potential, numbers: list[int], positions: np.ndarray, charge: int) -> float:
    """Return an energy of the teacher, kcal/mol."""
    batch = single(positions, numbers, charge=float(charge), dtype=torch.float64)
    return float(teacher.predict(batch, want=("energy",)).energy) * KCAL_MOL_PER_EV


def pair_terms(name: str, positions: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the Lennard-Jones energy of ion and waters, kcal/mol, and the waters' potentials, kcal/(mol·e)."""
    values = np.array(IONS[name][2])
    waters = np.array(WATER * ((len(positions) - len(values)) // 3))
    ion, others = positions[: len(values)] / ANGSTROM_PER_NM, positions[len(values) :] / ANGSTROM_PER_NM
    r = np.linalg.norm(ion[:, None] - others[None], axis=2)
    sigma = 0.5 * (values[:, None, 1] + waters[None, :, 1])
    epsilon = np.sqrt(values[:, None, 2] * waters[None, :, 2])
    lennard_jones = float((4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)).sum())
    return lennard_jones / KJ_PER_KCAL, COULOMB_KJ_MOL_NM * (waters[:, 0] / r).sum(axis=1) / KJ_PER_KCAL


def errors(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Return mean error, mean absolute error, the latter without the mean error, and the correlation, kcal/mol."""
    off = found - wanted
    return {
        "mean_error": float(off.mean()),
        "mean_absolute_error": float(np.abs(off).mean()),
        "without_mean": float(np.abs(off - off.mean()).mean()),
        "correlation": float(np.corrcoef(found, wanted)[0, 1]),
    }


def measured(name: str, snapshots: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the errors of each set of charges over the snapshots."""
    charges = np.array([one["charges"] for one in snapshots])
    potentials = np.array([one["potentials"] for one in snapshots])
    lennard_jones = np.array([one["lennard_jones"] for one in snapshots])
    wanted = np.array([one["teacher"] for one in snapshots])
    fixed = np.array([q for q, _, _ in IONS[name][2]])
    sets = {"OPLS-AA": fixed, "mean of the student": charges.mean(axis=0), "student": charges}
    return {
        "n_snapshots": len(snapshots),
        "waters": float(np.mean([one["waters"] for one in snapshots])),
        "teacher_mean": float(wanted.mean()),
        "teacher_deviation": float(wanted.std()),
        "charge_deviation": float(charges.std(axis=0).mean()),
        "charges_before_shift_sum": float(np.mean([one["sum"] for one in snapshots])),
        "kcal_mol": {key: errors(lennard_jones + (q * potentials).sum(axis=1), wanted) for key, q in sets.items()},
    }


def main() -> None:
    options = parser(__doc__, "openmm_embedding.json")
    options.add_argument("model")
    options.add_argument("--snapshots", type=int, default=100)
    options.add_argument("--every", type=int, default=200, help="steps")
    options.add_argument("--teacher", default="gfn2-xtb")
    arguments = options.parse_args()
    use_threads(1)
    potential = load(arguments.model)
    teacher = plugins.teacher(arguments.teacher).load()
    runs = {name: droplet(name, potential) for name in IONS}
    for simulation, _ in runs.values():
        simulation.step(2000)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in IONS}
    for k in range(arguments.snapshots):
        for name, (simulation, n_ion) in runs.items():
            simulation.step(arguments.every)
            found[name].append(snapshot(name, cluster(simulation, n_ion), n_ion, potential, teacher))
        if k < 1:
            continue
        rows = {name: measured(name, snapshots) for name, snapshots in found.items()}
        write(arguments.out, {"model": potential.card.name, "teacher": arguments.teacher, "ions": rows})
        print(f"{k + 1} snapshots", file=sys.stderr, flush=True)


def snapshot(name: str, positions: np.ndarray, n_ion: int, student: Potential, teacher: Potential) -> dict[str, Any]:
    """Return what one cluster, positions in Å, adds to the statistics."""
    numbers = structure_of(IONS[name][0]).numbers.tolist()
    waters = [8, 1, 1] * ((len(positions) - n_ion) // 3)
    charge = IONS[name][1]
    ion = single(positions[:n_ion], numbers, charge=float(charge), dtype=student.dtype)
    local = student.predict(ion, want=("charges",)).need("charges", "the student").double().numpy()
    lennard_jones, potentials = pair_terms(name, positions)
    return {
        "charges": local + (charge - local.sum()) / n_ion,
        "sum": float(local.sum()),
        "potentials": potentials,
        "lennard_jones": lennard_jones,
        "waters": len(waters) // 3,
        "teacher": energy(teacher, numbers + waters, positions, charge)
        - energy(teacher, numbers, positions[:n_ion], charge)
        - energy(teacher, waters, positions[n_ion:], 0),
    }


if __name__ == "__main__":
    main()
