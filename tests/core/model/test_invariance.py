"""Invariances of the energy, and the rotation of forces and stress with the structure."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mlff_core import ModelCard, StudentPotential, concatenate, split
from mlff_core.model.painn import PaiNN
from mlff_core.model.presets import PRESETS
from mlff_core.testing import structures

WANT = ("energy", "forces", "atom_energies")
ORTHOGONAL = {
    "a rotation": Rotation.from_euler("zyx", [0.3, -1.1, 2.0]).as_matrix(),
    "the inversion": -np.eye(3),
    "a rotation with inversion": -Rotation.from_euler("zyx", [1.3, 0.4, -0.8]).as_matrix(),
}


@pytest.fixture(scope="module", params=list(PRESETS))
def student(request):
    torch.manual_seed(1)
    config = PRESETS[request.param]
    model = PaiNN(config).double()
    model.reference_energies.copy_(torch.linspace(-1000, -10, len(config.elements)))
    card = ModelCard(name=request.param, elements=config.elements, cutoff=config.cutoff)
    return StudentPotential(model, card, dtype=torch.float64)


def close(a, b, scale=None):
    scale = float(b.abs().max()) if scale is None else scale
    assert float((a - b).abs().max()) <= 1e-10 * scale


def learned(student, prediction, batch):
    """Energies without the reference energies, whose −10³ eV would hide errors in small digits."""
    species = student.model.species_of_number[batch.atomic_numbers]
    return prediction.atom_energies - student.model.reference_energies[species]


@pytest.mark.parametrize(
    "name", [n for n in structures.all_structures() if n not in ("cluster of 200 atoms", "one atom")]
)
@pytest.mark.parametrize("turn", list(ORTHOGONAL))
def test_energy_is_unchanged_and_forces_and_stress_turn_along(student, name, turn):
    atoms, matrix = structures.all_structures()[name], ORTHOGONAL[turn]
    turned = atoms.copy()
    turned.positions = atoms.positions @ matrix.T
    turned.cell = np.asarray(atoms.cell) @ matrix.T
    want = (*WANT, "stress") if atoms.pbc.any() else WANT
    batch, matrix = structures.to_batch(atoms), torch.tensor(matrix)
    before, after = student.predict(batch, want=want), student.predict(structures.to_batch(turned), want=want)
    close(learned(student, after, batch), learned(student, before, batch))
    close(after.forces, before.forces @ matrix.T)
    if atoms.pbc.any():
        close(after.stress, matrix @ before.stress @ matrix.T)


@pytest.mark.parametrize("name", ["ethanol", "triclinic crystal", "slab", "cell smaller than the cutoff"])
def test_translation_and_lattice_jumps_change_nothing(student, name):
    atoms = structures.all_structures()[name]
    moved = structures.moved_by_lattice_vectors(atoms)
    moved.positions += [1.7, -3.1, 0.4]
    batch = structures.to_batch(atoms)
    before, after = student.predict(batch, want=WANT), student.predict(structures.to_batch(moved), want=WANT)
    close(learned(student, after, batch), learned(student, before, batch))
    close(after.forces, before.forces)


@pytest.mark.parametrize("name", ["ethanol", "triclinic crystal"])
def test_the_order_of_the_atoms_is_immaterial(student, name):
    atoms = structures.all_structures()[name]
    order = np.random.default_rng(0).permutation(len(atoms))
    batch = structures.to_batch(atoms)
    before = student.predict(batch, want=WANT)
    shuffled = structures.to_batch(structures.permuted(atoms, order))
    after = student.predict(shuffled, want=WANT)
    close(learned(student, after, shuffled), learned(student, before, batch)[order])
    close(after.forces, before.forces[order])
    close(after.energy, before.energy)


def test_two_molecules_far_apart_have_the_sum_of_their_energies(student):
    near = structures.ethanol()
    far = structures.ethanol()
    far.rotate(40, (1, 2, 3))
    far.positions += [40, 0, 0]
    parts = [student.predict(structures.to_batch(a)) for a in (near, far)]
    both = student.predict(structures.to_batch(near + far))
    close(both.energy, parts[0].energy + parts[1].energy)
    close(both.forces, torch.cat([part.forces for part in parts]))


def test_a_doubled_crystal_has_twice_the_energy_and_the_same_stress(student):
    crystal = structures.triclinic_crystal()
    doubled = crystal.repeat((2, 1, 1))
    before = student.predict(structures.to_batch(crystal), want=("energy", "forces", "stress"))
    after = student.predict(structures.to_batch(doubled), want=("energy", "forces", "stress"))
    close(after.energy, 2 * before.energy)
    close(after.forces, before.forces.repeat(2, 1))
    close(after.stress, before.stress)


def test_a_batch_gives_what_its_structures_give_alone(student):
    frames = [a for name, a in structures.all_structures().items() if name != "cluster of 200 atoms"]
    joined = concatenate([structures.to_batch(a) for a in frames])
    together = student.predict(joined, want=WANT)
    alone = [student.predict(part, want=WANT) for part in split(joined)]
    close(together.energy, torch.cat([p.energy for p in alone]))
    close(together.forces, torch.cat([p.forces for p in alone]))
    close(together.atom_energies, torch.cat([p.atom_energies for p in alone]))


def test_the_energy_is_float64_and_the_sum_of_the_atoms(student):
    for precision in (torch.float32, torch.float64):
        model = PaiNN(student.model.config)
        model.load_state_dict(student.model.state_dict())
        potential = StudentPotential(model, student.card, dtype=precision)
        prediction = potential.predict(structures.to_batch(structures.ethanol()), want=WANT)
        assert prediction.energy.dtype == prediction.atom_energies.dtype == torch.float64
        assert prediction.forces.dtype == precision
        close(prediction.energy, prediction.atom_energies.sum()[None])
        exact = student.predict(structures.to_batch(structures.ethanol()), want=WANT)
        assert float((prediction.energy - exact.energy).abs()) < 1e-4


def test_an_isolated_atom_has_no_force(student):
    lonely = structures.to_batch(structures.one_atom())
    prediction = student.predict(lonely)
    assert prediction.forces.abs().max() == 0
    assert torch.isfinite(prediction.energy).all()
    assert student.hessian(lonely).abs().max() == 0
    apart = structures.one_atom() + structures.one_atom()
    apart.positions[1] += 30
    assert float(student.predict(structures.to_batch(apart)).energy) == pytest.approx(
        2 * float(prediction.energy), rel=1e-14
    )
