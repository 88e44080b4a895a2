"""What electrostatic embedding with PME in OpenMM leaves out beyond the cutoff, beside a whole lattice sum.

    python -m benchmarks openmm_embedding_cutoff MODEL [--snapshots 10] [--every 100] [--json FILE]

Each ion of ``openmm_embedding`` is in a box of TIP3P water of 2.4 nm, PME, cutoff 0.9 nm. At snapshots of a run at
300 K the embedded System is compared with one whose ``NonbondedForce`` has the student's charges at that geometry, less
what these change among the images of the ion. Mechanical embedding with OPLS-AA's charges is compared in the same way.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from benchmarks.command import parser, use_threads, write
from benchmarks.engines.openmm_embedding import IONS, KJ_PER_KCAL, force_field, ion_topology
from mlff_core import load
from mlff_core.potentials.interface import Potential
from mlff_plugins.openmm import atom_charges, create_mixed_system


def coulomb(system: openmm.System, positions: Any, ion: np.ndarray | None, others: bool) -> tuple[float, np.ndarray]:
    """Return energy, kJ/mol, and forces, kJ/mol/nm, of the System, with other charges of the ion, or none of others."""
    changed = copy.deepcopy(system)
    for force in changed.getForces():
        if not isinstance(force, openmm.NonbondedForce):
            continue
        for k in range(force.getNumParticles()):
            charge, sigma, epsilon = force.getParticleParameters(k)
            if ion is not None and k < len(ion):
                charge = ion[k]
            elif not others and (ion is None or k >= len(ion)):
                charge = 0.0
            force.setParticleParameters(k, charge, sigma, epsilon)
    context = openmm.Context(changed, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU"))
    context.setPeriodicBoxVectors(*system.getDefaultPeriodicBoxVectors())
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def compared(name: str, potential: Potential, n_snapshots: int, every: int) -> dict[str, float]:
    """Return errors of electrostatic and mechanical embedding against a whole lattice sum of the student's charges."""
    topology, places = ion_topology(name)
    n_ion, charge = topology.getNumAtoms(), IONS[name][1]
    fields = force_field(name, topology)
    modeller = app.Modeller(topology, places * unit.nanometer)
    modeller.addSolvent(fields, boxSize=openmm.Vec3(2.4, 2.4, 2.4) * unit.nanometer, neutralize=False)
    mm_system = fields.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9, rigidWater=True, ewaldErrorTolerance=1e-5
    )
    given: dict[str, Any] = {"charge": charge, "backend": "pythonforce"}
    arguments = (modeller.topology, mm_system, range(n_ion), potential)
    embedded = create_mixed_system(*arguments, embedding="electrostatic", **given)
    mechanical = create_mixed_system(*arguments, **given)
    integrator = openmm.LangevinMiddleIntegrator(300, 2, 0.001)
    simulation = app.Simulation(modeller.topology, embedded, integrator, openmm.Platform.getPlatformByName("CPU"))
    simulation.context.setPositions(modeller.positions)
    simulation.minimizeEnergy(maxIterations=100)
    simulation.context.setVelocitiesToTemperature(300, 1)
    fixed = np.array([q for q, _, _ in IONS[name][2]])
    off: dict[str, list[float]] = {key: [] for key in ("electrostatic", "mechanical", "force", "whole_force")}
    for _ in range(n_snapshots):
        simulation.step(every)
        local = atom_charges(simulation.context, potential, modeller.topology, atoms=range(n_ion), charge=charge)
        charges = local + (charge - local.sum()) / n_ion
        positions = simulation.context.getState(positions=True).getPositions()
        whole, whole_forces = coulomb(mechanical, positions, charges, others=True)
        images, _ = coulomb(mechanical, positions, charges, others=False)
        before, _ = coulomb(mechanical, positions, fixed, others=False)
        wanted = whole - (images - before)
        found, forces = coulomb(embedded, positions, None, others=True)
        plain, plain_forces = coulomb(mechanical, positions, None, others=True)
        off["electrostatic"].append((found - wanted) / KJ_PER_KCAL)
        off["mechanical"].append((plain - wanted) / KJ_PER_KCAL)
        # Waters feel the ion's charges only, not how these change.
        off["force"].append(float(np.sqrt(np.square(forces - whole_forces)[n_ion:].mean())))
        off["whole_force"].append(float(np.sqrt(np.square(plain_forces - whole_forces)[n_ion:].mean())))
    return {
        "n_snapshots": n_snapshots,
        "electrostatic_rms_kcal_mol": float(np.sqrt(np.square(off["electrostatic"]).mean())),
        "electrostatic_deviation_kcal_mol": float(np.std(off["electrostatic"])),
        "mechanical_rms_kcal_mol": float(np.sqrt(np.square(off["mechanical"]).mean())),
        "mechanical_deviation_kcal_mol": float(np.std(off["mechanical"])),
        "electrostatic_rms_force_on_waters_kj_mol_nm": float(np.mean(off["force"])),
        "mechanical_rms_force_on_waters_kj_mol_nm": float(np.mean(off["whole_force"])),
    }


def main() -> None:
    options = parser(__doc__, "openmm_embedding_cutoff.json")
    options.add_argument("model")
    options.add_argument("--snapshots", type=int, default=10)
    options.add_argument("--every", type=int, default=100, help="steps")
    arguments = options.parse_args()
    use_threads(1)
    potential = load(arguments.model)
    rows: dict[str, Any] = {}
    for name in IONS:
        rows[name] = compared(name, potential, arguments.snapshots, arguments.every)
        write(arguments.out, {"model": potential.card.name, "cutoff_nm": 0.9, "box_nm": 2.4, "ions": rows})


if __name__ == "__main__":
    main()
