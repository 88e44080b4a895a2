"""The checks pass on correct potentials and fail on potentials with a planted fault."""

from dataclasses import replace

import pytest
import torch

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.testing import PairPotential, potential_checks, small_student, structures

POTENTIALS = {
    "pair float32": lambda: PairPotential(),
    "pair float64": lambda: PairPotential(dtype=torch.float64),
    "student float32": lambda: small_student(),
    "student float64": lambda: small_student(dtype=torch.float64),
}


@pytest.fixture(params=POTENTIALS)
def potential(request):
    return POTENTIALS[request.param]()


def test_every_check_passes(potential):
    potential_checks.check_everything(potential)


@pytest.mark.parametrize("name", structures.all_structures())
def test_neighbors_given_or_searched_agree(potential, name):
    potential_checks.check_neighbors_given_or_searched_agree(potential, structures.all_structures()[name])


class Faulty(PairPotential):
    def __init__(self, change):
        super().__init__(dtype=torch.float64)
        self.change = change

    def predict_checked(self, batch, want, edges=None):
        return self.change(super().predict_checked(batch, want, edges), batch)


def uniform_field(prediction, batch):
    """Add a field along x: forces are exact, but a shift changes the energy."""
    energy = prediction.energy.index_add(0, batch.system_idx, 0.1 * batch.positions[:, 0])
    forces = None if prediction.forces is None else prediction.forces - torch.tensor([0.1, 0.0, 0.0]).double()
    return replace(prediction, energy=energy, forces=forces)


def net_force(prediction, batch):
    """Add a force without an energy."""
    return replace(prediction, forces=None if prediction.forces is None else prediction.forces + 1e-3)


def order_of_atoms(prediction, batch):
    """Count the first atom twice."""
    if prediction.forces is None:
        return prediction
    forces = prediction.forces.clone()
    forces[0] *= 1.01
    return replace(prediction, forces=forces)


def mean_energy(prediction, batch):
    """Divide by the number of atoms, like an averaging readout."""
    return replace(prediction, energy=prediction.energy / batch.n_atoms)


def lost_share(prediction, batch):
    shares = prediction.atom_energies
    return replace(prediction, atom_energies=None if shares is None else shares * 1.001)


def crooked_stress(prediction, batch):
    if prediction.stress is None:
        return prediction
    stress = prediction.stress.clone()
    stress[:, 0, 1] += 1e-3
    return replace(prediction, stress=stress)


def handed(prediction, batch):
    """Add the signed volume of the first three vectors, which changes sign under inversion."""
    if batch.n_atoms < 4 or bool(batch.pbc.any()):
        return prediction
    x = batch.positions
    return replace(prediction, energy=prediction.energy + torch.det(x[1:4] - x[0]), forces=prediction.forces)


molecule, crystal = structures.ethanol, structures.triclinic_crystal


@pytest.mark.parametrize(
    ("fault", "check", "atoms"),
    [
        (uniform_field, potential_checks.check_translation_changes_nothing, molecule),
        (uniform_field, potential_checks.check_rotation_turns_forces_and_stress, molecule),
        (uniform_field, potential_checks.check_lattice_vectors_change_nothing, crystal),
        (net_force, potential_checks.check_forces_are_the_gradient_of_the_energy, molecule),
        (net_force, potential_checks.check_inversion_reverses_forces, molecule),
        (order_of_atoms, potential_checks.check_permutation_permutes_forces, molecule),
        (mean_energy, potential_checks.check_energy_is_extensive, molecule),
        (mean_energy, potential_checks.check_energy_is_extensive, crystal),
        (lost_share, potential_checks.check_atom_energies_sum_to_the_energy, molecule),
        (crooked_stress, potential_checks.check_stress_is_the_strain_derivative, crystal),
        (handed, potential_checks.check_inversion_reverses_forces, molecule),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_is_found(fault, check, atoms):
    check(PairPotential(dtype=torch.float64), atoms())
    with pytest.raises(AssertionError):
        check(Faulty(fault), atoms())


class SharpCutoff(PairPotential):
    """Pairs beyond 4 Å are dropped, where the envelope is not zero yet."""

    def __init__(self):
        super().__init__(dtype=torch.float64)
        self.inner = PairPotential(5.0, dtype=torch.float64)
        self.card = replace(self.card, cutoff=4.0)

    def predict_checked(self, batch, want, edges=None):
        return self.inner.predict_checked(batch, want, find_neighbors(batch, 4.0))


def test_a_jump_at_the_cutoff_is_found():
    with pytest.raises(AssertionError, match="jumps"):
        potential_checks.check_nothing_jumps_at_the_cutoff(SharpCutoff())


def test_a_batch_that_mixes_its_structures_is_found():
    frames = [structures.ethanol(), structures.one_atom()]
    fault = Faulty(lambda prediction, batch: replace(prediction, energy=prediction.energy.flip(0)))
    with pytest.raises(AssertionError, match="batch against singles"):
        potential_checks.check_batch_equals_singles(fault, frames)


@pytest.mark.parametrize("name", structures.all_structures())
def test_the_pair_potentials_written_derivatives_are_those_of_its_energy(name):
    """Forces and stress, written by hand, against automatic differentiation of the written energy."""
    potential = PairPotential(dtype=torch.float64)
    atoms = structures.all_structures()[name]
    batch = structures.to_batch(atoms)
    edges = find_neighbors(batch, potential.card.cutoff)
    positions = batch.positions.clone().requires_grad_()
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deformation = torch.eye(3, dtype=torch.float64) + strain
    strained = replace(batch, positions=positions @ deformation, cell=batch.cell @ deformation)
    lengths = edge_vectors(strained, edges).norm(dim=1)
    z = batch.atomic_numbers
    pairs, _ = potential.pair_energy_and_derivative(lengths, z[edges.centers], z[edges.neighbors])
    energy = 0.5 * pairs.sum() + (0.0 * positions).sum() + (0.0 * strain).sum() - z.sum()
    by_position, by_strain = torch.autograd.grad(energy, [positions, strain])

    want = ["energy", "forces"] + (["stress"] if atoms.pbc.any() else [])
    found = potential.predict(batch, want=want)
    assert float(found.energy) == pytest.approx(float(energy.detach()), rel=1e-12)
    assert torch.allclose(found.forces, -by_position, atol=1e-12)
    if found.stress is not None:
        volume = torch.linalg.det(batch.cell[0]).abs()
        assert torch.allclose(found.stress[0], by_strain / volume, atol=1e-12)


def test_the_pair_potential_refuses_what_a_student_refuses_in_the_same_words():
    bad = [structures.ethanol() for _ in range(4)]
    bad[0].numbers[0] = 92
    bad[1].positions[0, 0] = float("nan")
    bad[2].positions[0] = bad[2].positions[1] + 0.1
    bad[3].info["charge"] = 1
    for atoms in bad:
        errors = []
        for potential in (PairPotential(), small_student()):
            with pytest.raises((InputError, UnsupportedError)) as caught:
                potential.predict(structures.to_batch(atoms))
            errors.append(str(caught.value).replace(potential.card.name, "model"))
            with pytest.raises(type(caught.value)):
                potential.check(structures.to_batch(atoms))
        assert errors[0] == errors[1]


def test_the_small_student_is_always_the_same_and_leaves_the_random_state_alone():
    torch.manual_seed(42)
    before = torch.get_rng_state()
    one = small_student()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(43)
    two = small_student()
    for (name, first), second in zip(one.model.state_dict().items(), two.model.state_dict().values(), strict=True):
        assert torch.equal(first, second), name


def test_structures_are_what_their_names_say():
    everything = structures.all_structures()
    for atoms in everything.values():
        assert set(atoms.symbols) <= {"H", "C", "N", "O"}
        potential_checks.predict(PairPotential(), atoms)
    assert len(everything["cluster of 200 atoms"]) == 200
    assert min(everything["cell smaller than the cutoff"].cell.lengths()) < PairPotential().card.cutoff / 1.5
    assert everything["slab"].pbc.tolist() == [True, True, False]
    cell = everything["triclinic crystal"].cell.array
    assert abs(cell - cell.T).max() > 0.5
    assert abs(cell[0, 1]) > 0.1  # not lower-triangular, so that a lost rotation shows
    inside = everything["triclinic crystal"].get_scaled_positions(wrap=False)
    outside = everything["triclinic crystal, atoms outside the cell"].get_scaled_positions(wrap=False)
    assert inside.min() >= 0
    assert inside.max() < 1
    assert outside.min() < 0
