"""MACE's own loader on a saved model with random weights."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import subprocess
import sys
import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch
from ase import Atoms

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.plugins import host as plugins
from mlff_core.plugins.engine import Tolerance
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import structures
from mlff_core.testing.teacher_contract import TeacherContract

# Not imported here, nor where the file is written: the import changes what torch.load may do.
if importlib.util.find_spec("mace") is None:
    pytest.skip("mace-torch is not installed", allow_module_level=True)

SAVE = """
import sys, numpy as np, torch
from mace import modules
from e3nn import o3
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
model = modules.ScaleShiftMACE(
    r_max=4.0, num_bessel=6, num_polynomial_cutoff=5, max_ell=2, interaction_cls=block, interaction_cls_first=block,
    num_interactions=2, num_elements=3, hidden_irreps=o3.Irreps("8x0e + 8x1o"), MLP_irreps=o3.Irreps("8x0e"),
    atomic_energies=np.array([[-13.0, -1000.0, -2000.0]]), avg_num_neighbors=8.0, atomic_numbers=[1, 6, 8],
    correlation=2, gate=torch.nn.functional.silu, atomic_inter_scale=1.0, atomic_inter_shift=0.0, heads=["Default"],
)
torch.save(model, sys.argv[1])
"""


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("mace") / "random.model"
    subprocess.run([sys.executable, "-W", "ignore", "-c", SAVE, path], check=True)
    return path


@pytest.fixture(scope="module", autouse=True)
def options_of_the_contract(weights):
    TestMACE.options = {"weights_path": str(weights), "sha256": hash_of(weights), "device": "cpu"}


class TestMACE(TeacherContract):
    teacher = "mace"
    options: ClassVar[dict[str, str]] = {}
    force_tolerance = 1e-6
    stress_tolerance = 1e-8
    invariance = Tolerance(energy=1e-9, forces=1e-8, stress=1e-9)
    # Random weights know no bond.
    test_a_bond_has_the_experimental_stiffness = None


def test_labels_are_those_of_the_packages_own_calculator(weights):
    ours = plugins.teacher("mace").load(TestMACE.options)
    atoms = structures.ethanol()
    atoms.set_cell([[6.9, 0.3, -0.2], [-0.8, 5.6, 0.4], [0.5, 0.7, 5.2]])
    atoms.pbc = True
    found = ours.predict(batch_from_atoms(atoms, dtype=torch.float64), want=("energy", "forces", "stress"))
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as environment:
        environment.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        warnings.simplefilter("ignore")
        from mace.calculators import MACECalculator

        network = torch.load(weights, weights_only=False)
        atoms.calc = MACECalculator(models=[network], device="cpu", default_dtype="float64")
    assert found.energy.item() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(found.forces.numpy(), atoms.get_forces(), atol=1e-8)
    np.testing.assert_allclose(found.stress[0].numpy(), atoms.get_stress(voigt=False), atol=1e-9)


def test_the_elements_are_those_of_the_file(weights):
    mace = plugins.teacher("mace").load(TestMACE.options)
    assert mace.card.elements == (1, 6, 8)
    assert mace.card.teacher["method"] == "random"
    with pytest.raises(UnsupportedError, match="N"):
        mace.predict(batch_from_atoms(Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])))


def test_torch_load_stays_as_safe_as_it_was(weights):
    plugins.teacher("mace").load(TestMACE.options).predict(batch_from_atoms(structures.ethanol()))
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


def test_a_file_is_opened_only_with_its_hash(weights, tmp_path):
    bomb = tmp_path / "bomb.model"
    with bomb.open("wb") as stream:
        pickle.dump(Bomb(), stream)
    with pytest.raises(InputError, match="needs the option sha256"):
        plugins.teacher("mace").load({"weights_path": bomb})
    with pytest.raises(InputError, match="refused before any code in it was run"):
        plugins.teacher("mace").load({"weights_path": bomb, "sha256": hash_of(weights)})


def test_what_is_missing_or_no_model_is_refused(weights, tmp_path):
    with pytest.raises(InputError, match="weights_path"):
        plugins.teacher("mace").load({})
    with pytest.raises(InputError, match="no file"):
        plugins.teacher("mace").load({"weights_path": tmp_path / "none.model", "sha256": "0"})
    other = tmp_path / "other.model"
    torch.save({"weight": torch.zeros(3)}, other)
    with pytest.raises(InputError, match="does not hold a MACE model"):
        plugins.teacher("mace").load({"weights_path": other, "sha256": hash_of(other)})
    with pytest.raises(InputError, match="no head 'spice'; it has Default"):
        plugins.teacher("mace").load({**TestMACE.options, "head": "spice"})
