"""The shipped students: complete, within their budgets, and with the errors on their cards."""

import pytest
import torch

import mlff_core
from mlff_core.export.agreement import agreement
from mlff_core.export.writing import for_card
from mlff_core.model.presets import BUDGETS
from mlff_core.models import registry
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing.structures import all_structures, ethanol, triclinic_crystal

PROMISED = {
    "original": (0.9945, 0.051, 5.5, 1.7),
    "tiny": (0.990, 0.072, 7.9, 2.6),
    "ultra-tiny": (0.978, 0.0975, 10.3, 4.0),
}
"""Limits on unseen scaffolds: lowest force R², highest force MAE (eV/Å), mean angle (°), energy MAE (meV/atom)."""
SIZES = list(PROMISED)
MOST_IN_LIQUIDS = {"original": 0.070, "tiny": 0.085, "ultra-tiny": 0.103}
"""Force MAE (eV/Å) in boxes of liquids, most of which no student has seen."""


@pytest.mark.parametrize("size", SIZES)
def test_a_shipped_student_opens_by_its_name_and_is_whole(size):
    model = registry.find_model(f"organic-{size}")
    assert model.origin == "shipped"
    assert registry.verify_model(model) == []
    assert {path.suffix for path in model.exports} == {".onnx", ".ts"}
    card = mlff_core.load(f"organic-{size}", device="cpu").card
    assert card.name == f"organic-{size}"
    assert card.symbols == ("H", "C", "N", "O", "F", "P", "S", "Cl")
    assert 0.9 * BUDGETS[size] < card.n_parameters <= BUDGETS[size]
    assert card.teacher["name"] == "so3lr"
    assert card.limits


def test_the_shipped_students_take_less_than_15_megabytes():
    folder = registry.SHIPPED_FOLDER
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 15e6


@pytest.mark.parametrize("size", SIZES)
def test_errors_on_unseen_scaffolds_are_what_the_readers_are_promised(size):
    metrics = mlff_core.load(f"organic-{size}", device="cpu").card.metrics["test_scaffolds"]
    least_r2, most_mae, most_angle, most_energy = PROMISED[size]
    assert metrics["force_r2"]["value"] >= least_r2
    assert metrics["force_mae"]["value"] <= most_mae
    assert metrics["force_angle_mean_deg"]["value"] <= most_angle
    assert metrics["energy_mae_mev_per_atom"]["value"] <= most_energy
    for name in ("force_r2", "force_mae", "energy_mae_mev_per_atom"):
        low, high = metrics[name]["interval"]
        assert low < metrics[name]["value"] < high


@pytest.mark.parametrize("size", SIZES)
def test_errors_in_liquids_are_what_the_readers_are_promised(size):
    metrics = mlff_core.load(f"organic-{size}", device="cpu").card.metrics["test_liquids"]
    assert metrics["data"]["n_structures"] > 100
    assert metrics["force_mae"]["value"] <= MOST_IN_LIQUIDS[size]


def test_all_three_learned_from_the_same_data():
    cards = [mlff_core.load(f"organic-{size}", device="cpu").card for size in SIZES]
    assert len({card.dataset["sha256"] for card in cards}) == 1
    # The smallest student also has 228 frames of breaking water molecules.
    sizes = [card.dataset["replay"]["n_structures"] for card in cards]
    assert sizes == [36469, 36469, 36697]


@pytest.mark.parametrize("size", SIZES)
def test_forces_are_minus_the_energy_gradient(size):
    student = mlff_core.load(f"organic-{size}", device="cpu", dtype="float64")
    atoms = ethanol()
    forces = student.predict(batch_from_atoms(atoms, dtype=torch.float64)).forces.numpy()
    step = 1e-4
    for atom, axis in ((0, 0), (2, 1), (5, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(float(student.predict(batch_from_atoms(moved, dtype=torch.float64)).energy))
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_kernel_gives_the_numbers_of_the_reference(size):
    name = f"organic-{size}"
    kernel = mlff_core.load(name, device="cpu", guard="off")
    reference = mlff_core.load(name, device="cpu", guard="off", kernel="reference")
    batches = [batch_from_atoms(for_card(atoms, kernel.card)) for atoms in all_structures().values()]
    agreement(reference, kernel, batches).require(f"the kernel with {name}")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suffix", [".onnx", ".ts"])
def test_the_exported_files_give_the_same_numbers(size, suffix):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
    model = registry.find_model(f"organic-{size}")
    exported = mlff_core.load(model.path.with_suffix(suffix), device="cpu", guard="off")
    student = mlff_core.load(model.name, device="cpu", guard="off", kernel="reference")
    frames = [for_card(atoms, student.card) for atoms in (ethanol(), triclinic_crystal())]
    agreement(student, exported, [batch_from_atoms(atoms) for atoms in frames]).require(suffix)
