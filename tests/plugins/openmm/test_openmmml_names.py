"""The shipped students as potentials of openmm-ml by name."""

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app

import mlff_core
from mlff_core.errors import InputError
from mlff_core.models.registry import registered_models
from mlff_core.structures.batch import single
from mlff_core.units import ANGSTROM_PER_NM, KJ_MOL_PER_EV

openmmml = pytest.importorskip("openmmml")
tomllib = pytest.importorskip("tomllib")

GROUP = "openmmml.potentials"
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
NUMBERS = [8, 1, 1]
POSITIONS_NM = np.array([[0.0, 0.0, 0.0], [0.0957, 0.0, 0.0], [-0.024, 0.0927, 0.0]])


@pytest.fixture
def declared(monkeypatch):
    """Register what pyproject.toml declares, as openmm-ml does with what is installed; return its names."""
    entries = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"][GROUP]
    factories = {name: EntryPoint(name, value, GROUP).load()() for name, value in entries.items()}
    known = openmmml.MLPotential._implFactories
    monkeypatch.setattr(openmmml.MLPotential, "_implFactories", known | factories)
    return set(entries)


def test_every_shipped_student_has_its_name(declared):
    assert declared - {"mlff"} == {model.name for model in registered_models() if model.origin == "shipped"}


def test_a_name_gives_the_energy_of_that_student(declared):
    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    for symbol in ("O", "H", "H"):
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
    found = {}
    for name in sorted(declared - {"mlff"}):
        system = openmmml.MLPotential(name).createSystem(topology)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(POSITIONS_NM)
        found[name] = context.getState(getEnergy=True).getPotentialEnergy()._value
        alone = mlff_core.load(name, device="cpu").predict(single(POSITIONS_NM * ANGSTROM_PER_NM, NUMBERS))
        assert found[name] == pytest.approx(float(alone.energy) * KJ_MOL_PER_EV, abs=0.05)
    assert len({round(energy, 2) for energy in found.values()}) == len(found)


def test_a_name_takes_no_other_model(declared):
    with pytest.raises(InputError, match="modelPath="):
        openmmml.MLPotential("organic-tiny", modelPath="other.pt")
