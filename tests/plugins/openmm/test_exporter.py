"""The file for TorchForce: the contract, and a script without this package."""

import json
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch

pytest.importorskip("openmmtorch")

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.kernels.operator_library import library_path
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import ExporterContract, isolation, small_student, structures
from mlff_core.units import ANGSTROM_PER_NM, KJ_MOL_PER_EV
from mlff_plugins.openmm.convert import reduced_box
from mlff_plugins.openmm.exporter import OpenMMExporter


def written(atoms, name="structure.extxyz"):
    path = isolation.kept_folder() / name
    ase.io.write(path, atoms)
    return str(path)


class TestOpenMMExporter(ExporterContract):
    exporter = OpenMMExporter()


class TestFusedOpenMMExporter(ExporterContract):
    exporter = OpenMMExporter()
    options = {"operator": "fused", "structure": written(structures.triclinic_crystal())}  # noqa: RUF012


BARE = """
import importlib.abc, json, sys
class Hider(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mlff_core", "mlff_plugins"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hider())
import openmm, openmmtorch
given = json.load(open(sys.argv[1]))
if given["library"]:
    import torch
    torch.ops.load_library(given["library"])
force = openmmtorch.TorchForce(given["file"])
system = openmm.System()
for _ in given["positions"]:
    system.addParticle(12.0)
if given["box"]:
    force.setUsesPeriodicBoundaryConditions(True)
    system.setDefaultPeriodicBoxVectors(*given["box"])
system.addForce(force)
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU"))
context.setPositions(given["positions"])
for _ in range(4):
    state = context.getState(energy=True, forces=True)
print(json.dumps([state.getPotentialEnergy()._value, [list(f) for f in state.getForces()._value]]))
"""


@pytest.mark.parametrize("operator", ["portable", "fused"])
@pytest.mark.parametrize(
    "atoms", [structures.ethanol(), structures.small_cell()], ids=["molecule", "cell smaller than the cutoff"]
)
def test_a_script_without_this_package_gets_the_models_numbers(atoms, operator, tmp_path):
    student = small_student()
    model = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    structure, file = written(atoms), tmp_path / "force.pt"
    command = [sys.executable, "-m", "mlff_core.cli", "export", str(model), "--format", "openmm"]
    command += ["--option", f"operator={operator}"]
    done = subprocess.run(
        [*command, "--structure", structure, "-o", str(file)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    box, rotation = reduced_box(atoms.cell) if atoms.pbc.all() else (None, np.eye(3))
    given = {
        "file": str(file),
        "library": str(library_path()) if operator == "fused" else None,
        "positions": (atoms.positions @ rotation / ANGSTROM_PER_NM).tolist(),
        "box": None if box is None else (box / ANGSTROM_PER_NM).tolist(),
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    (tmp_path / "bare.py").write_text(BARE)
    done = subprocess.run(
        [sys.executable, "bare.py", "given.json"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    energy, forces = json.loads(done.stdout)
    wanted = small_student().predict(structures.to_batch(atoms))
    # A total energy hides errors behind the energies of free atoms, so those are left out.
    network = student.model
    free = float(network.reference_energies[network.species_of_number[torch.tensor(atoms.numbers)]].sum())
    bonded = float(wanted.energy) - free
    assert energy / KJ_MOL_PER_EV - free == pytest.approx(bonded, rel=1e-5)
    found = np.array(forces) / (KJ_MOL_PER_EV * ANGSTROM_PER_NM) @ rotation.T
    assert np.abs(found - wanted.forces.numpy()).max() < 2e-5 * max(1.0, float(wanted.forces.abs().max()))


def test_without_a_structure_the_option_is_named(tmp_path):
    with pytest.raises(InputError, match="--structure"):
        OpenMMExporter().export(small_student(), tmp_path / "force.pt", {})


@pytest.mark.parametrize(
    ("atoms", "error", "message"),
    [
        (structures.slab(), UnsupportedError, "pbc"),
        (structures.ethanol()[[0, 0]], InputError, "overlap"),
    ],
)
def test_a_structure_that_cannot_be_served_is_refused(tmp_path, atoms, error, message):
    with pytest.raises(error, match=message):
        OpenMMExporter().export(small_student(), tmp_path / "force.pt", {"structure": written(atoms)})
    assert not list(Path(tmp_path).iterdir())


def test_an_unknown_element_is_refused(tmp_path):
    atoms = structures.ethanol()
    atoms.numbers[0] = 92
    with pytest.raises(UnsupportedError, match="does not know U"):
        OpenMMExporter().export(small_student(), tmp_path / "force.pt", {"structure": written(atoms)})
