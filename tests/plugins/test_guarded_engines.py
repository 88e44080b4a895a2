"""Every engine that calls the potential at each step stops at a structure unlike the training data."""

import numpy as np
import pytest
from ase.build import molecule

import mlff_core
from mlff_core import batch_from_atoms
from mlff_core.errors import OffDomainError
from mlff_core.units import ANGSTROM_PER_BOHR

MESSAGE = "was not trained on structures like this: atom"


@pytest.fixture
def guarded():
    return mlff_core.load("organic-tiny", device="cpu", guard="stop")


@pytest.fixture
def halved():
    atoms = molecule("C6H6")
    atoms.positions *= 0.5
    return atoms


def test_ase(guarded, halved):
    from mlff_plugins.ase.calculator import MLFFCalculator

    halved.calc = MLFFCalculator(guarded)
    with pytest.raises(OffDomainError, match=MESSAGE):
        halved.get_potential_energy()


def test_ipi(guarded, halved):
    from mlff_plugins.ipi.driver import Driver
    from mlff_plugins.ipi.protocol import Structures

    driver = Driver(guarded, batch_from_atoms(molecule("C6H6")))
    with pytest.raises(OffDomainError, match=MESSAGE):
        driver(Structures(np.zeros((1, 3, 3)), halved.positions[None] / ANGSTROM_PER_BOHR))


def test_openmm(guarded, halved):
    openmm = pytest.importorskip("openmm")
    from mlff_plugins.openmm.force import create_force

    system = openmm.System()
    for _ in halved:
        system.addParticle(12.0)
    system.addForce(create_force(guarded, halved.numbers.tolist(), backend="pythonforce"))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001))
    context.setPositions(halved.positions / 10)
    with pytest.raises(openmm.OpenMMException, match=MESSAGE):
        context.getState(getEnergy=True)


def test_torch_sim(guarded, halved):
    torch_sim = pytest.importorskip("torch_sim")
    from mlff_plugins.torchsim.model import TorchSimModel

    model = TorchSimModel(guarded)
    with pytest.raises(OffDomainError, match=MESSAGE):
        model(torch_sim.initialize_state([halved], device=model.device, dtype=model.dtype))


def test_lammps(guarded, halved):
    pytest.importorskip("lammps")
    from mlff_plugins.lammps import attach
    from mlff_plugins.lammps.driver import open_lammps

    lmp = open_lammps(["-log", "none", "-screen", "none"])
    try:
        lmp.commands_string(
            "units metal\natom_modify map yes\nregion box block -20 20 -20 20 -20 20\ncreate_box 2 box\n"
            "mass 1 12.011\nmass 2 1.008"
        )
        for number, (x, y, z) in zip(halved.numbers, halved.positions, strict=True):
            lmp.command(f"create_atoms {1 if number == 6 else 2} single {x} {y} {z}")
        attach(lmp, guarded, ["C", "H"])
        with pytest.raises(OffDomainError, match=MESSAGE):
            lmp.command("run 0")
    finally:
        lmp.close()
