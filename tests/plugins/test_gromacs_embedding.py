"""The file for NNPot with electrostatic embedding: energies and forces on both sides, and grompp's trial call."""

import numpy as np
import pytest
import torch

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures import examples
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import charged_student, small_student
from mlff_core.units import ANGSTROM_PER_NM, COULOMB_EV_ANGSTROM, KJ_MOL_PER_EV
from mlff_plugins.gromacs import GromacsExporter
from mlff_plugins.gromacs.embedded_module import EmbeddedNNPotModule
from mlff_plugins.gromacs.reopened import EMBEDDED_INPUTS

CUTOFF = 7.0
BOX = np.array([[16.0, 0, 0], [3.0, 15.0, 0], [-4.0, 5.0, 15.0]])


def surroundings(periodic):
    """Return (atoms, positions of charges, Å, charges): ethanol, with charges at least 1.5 Å away."""
    atoms = examples.ethanol()
    random = np.random.default_rng(3)
    places = random.uniform(-1, 2, size=(60, 3)) @ BOX if periodic else random.uniform(-8, 8, size=(60, 3))
    vectors = places[:, None] - atoms.positions[None]
    if periodic:
        for k in (2, 1, 0):
            vectors -= np.round(vectors[..., k : k + 1] / BOX[k, k]) * BOX[k]
    places = places[np.linalg.norm(vectors, axis=2).min(axis=1) > 1.5]
    return atoms, places, random.normal(size=len(places))


def called(module, atoms, places, charges, periodic, total=-1.0):
    """Return energy, eV, and forces on atoms and charges, eV/Å, in float64."""
    inputs = [
        torch.tensor(atoms.positions / ANGSTROM_PER_NM),
        torch.tensor(atoms.numbers, dtype=torch.int32),
        torch.tensor(places / ANGSTROM_PER_NM),
        torch.tensor(charges),
        torch.tensor([total]),
    ]
    if periodic:
        inputs += [torch.tensor(BOX / ANGSTROM_PER_NM), torch.tensor([True, True, True])]
    energy, forces, others = module(*inputs)
    unit = KJ_MOL_PER_EV * ANGSTROM_PER_NM
    return float(energy) / KJ_MOL_PER_EV, forces.numpy() / unit, others.numpy() / unit


@pytest.fixture(scope="module")
def module():
    student = charged_student(dtype=torch.float64, kernel="reference")
    return torch.jit.script(EmbeddedNNPotModule(student.model, student.card, CUTOFF).eval())


@pytest.mark.parametrize("periodic", [False, True])
def test_the_energy_is_that_of_the_shifted_charges_up_to_the_cutoff(module, periodic):
    atoms, places, charges = surroundings(periodic)
    seen = atoms.copy()
    if periodic:
        seen.set_cell(BOX)
        seen.pbc = True
    found = charged_student(dtype=torch.float64).predict(
        batch_from_atoms(seen, dtype=torch.float64), want=("energy", "charges")
    )
    local = found.charges.numpy()
    own = local + (-1.0 - local.sum()) / len(atoms)
    wanted = float(found.energy)
    shifts = np.array([[i, j, k] for i in range(-3, 4) for j in range(-3, 4) for k in range(-3, 4)]) @ BOX
    for q, at in zip(own, atoms.positions, strict=True):
        vectors = places - at
        images = vectors[:, None] + shifts if periodic else vectors[:, None]
        r = np.linalg.norm(images, axis=2).min(axis=1)
        terms = np.where(r < CUTOFF, 1 / r + r**2 / (2 * CUTOFF**3) - 1.5 / CUTOFF, 0)
        wanted += COULOMB_EV_ANGSTROM * q * float((charges * terms).sum())
    energy, _, _ = called(module, atoms, places, charges, periodic)
    assert energy == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("periodic", [False, True])
def test_forces_on_atoms_and_charges_are_the_derivative(module, periodic):
    atoms, places, charges = surroundings(periodic)
    _, forces, others = called(module, atoms, places, charges, periodic)
    assert np.abs(forces.sum(axis=0) + others.sum(axis=0)).max() < 1e-9
    near = int(np.abs(others).sum(axis=1).argmax())
    for moves_atom, index, axis in ((True, 0, 0), (True, 8, 2), (False, near, 1)):
        energies = []
        for step in (1e-5, -1e-5):
            moved, there = atoms.copy(), places.copy()
            (moved.positions if moves_atom else there)[index, axis] += step
            energies.append(called(module, moved, there, charges, periodic)[0])
        force = (forces if moves_atom else others)[index, axis]
        assert abs(force) > 1e-3
        assert force == pytest.approx(-(energies[0] - energies[1]) / 2e-5, abs=1e-5)


@pytest.mark.parametrize("n_atoms", [1, 3, 250])
@pytest.mark.parametrize("n_inputs", [5, 7])
def test_grompps_trial_passes_with_the_atoms_places_for_one_charge(tmp_path, n_atoms, n_inputs):
    path = tmp_path / "nnp.pt"
    report = GromacsExporter().export(charged_student(kernel="reference"), path, {"embedding": "electrostatic"})
    assert report.details["nnpot-embedding"] == "electrostatic-model"
    assert [report.details[f"nnpot-model-input{k + 1}"] for k in range(7)] == list(EMBEDDED_INPUTS)
    k = torch.arange(1, n_atoms + 1, dtype=torch.float64)
    row = (0.01 * torch.stack([k, 2 * k, 3 * k], dim=1)).float().requires_grad_()
    numbers, box, pbc = torch.ones(n_atoms, dtype=torch.int32), torch.eye(3), torch.tensor([True, True, True])
    inputs = [row, numbers, row.detach().clone().requires_grad_(), torch.ones(1), torch.zeros(1), box, pbc]
    energy, forces, others = torch.jit.load(str(path))(*inputs[:n_inputs])
    assert energy.shape == ()
    assert forces.shape == others.shape == (n_atoms, 3)
    assert forces.dtype == others.dtype == torch.float32


def test_what_cannot_be_embedded_is_refused(tmp_path):
    path, exporter = tmp_path / "nnp.pt", GromacsExporter()
    with pytest.raises(UnsupportedError, match="gives no charges"):
        exporter.export(small_student(), path, {"embedding": "electrostatic"})
    with pytest.raises(UnsupportedError, match="operator=portable"):
        exporter.export(charged_student(), path, {"embedding": "electrostatic", "operator": "fused"})
    with pytest.raises(InputError, match="mechanical, electrostatic"):
        exporter.export(charged_student(), path, {"embedding": "electric"})
    with pytest.raises(InputError, match="coulomb_cutoff"):
        exporter.export(charged_student(), path, {"embedding": "electrostatic", "coulomb_cutoff": 0.0})
    assert not path.exists()
