"""Students in an outer electrostatic potential: energies, forces through dq/dx, and who refuses it."""

import pytest
import torch

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.kernels import cpu_kernel
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures import examples
from mlff_core.structures.batch import concatenate
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import charged_student, small_student

KERNELS = ["reference", "cpu"]


def two_structures():
    names = (examples.ethanol(), examples.triclinic_crystal())
    batch = concatenate([batch_from_atoms(atoms, dtype=torch.float64) for atoms in names])
    return batch, torch.randn(batch.n_atoms, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_energy_is_the_students_and_that_of_its_charges_in_the_field(kernel):
    student = charged_student(dtype=torch.float64, kernel=kernel)
    batch, potentials = two_structures()
    alone = student.predict(batch, want=("energy", "charges"))
    found = student.predict_in_field(batch, potentials)
    shares = torch.zeros(2, dtype=torch.float64).index_add(0, batch.system_idx, potentials * alone.charges)
    assert shares.abs().min() > 0.1
    torch.testing.assert_close(found.energy, alone.energy + shares, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.charges, alone.charges)


@pytest.mark.parametrize("kernel", KERNELS)
def test_forces_are_the_derivative_at_constant_potentials(kernel):
    student = charged_student(dtype=torch.float64, kernel=kernel)
    batch, potentials = two_structures()
    forces = student.predict_in_field(batch, potentials).forces
    assert (forces - student.predict(batch).forces).abs().max() > 0.1
    for atom, axis in ((0, 0), (4, 1), (batch.n_atoms - 1, 2)):
        energies = []
        for step in (1e-4, -1e-4):
            positions = batch.positions.clone()
            positions[atom, axis] += step
            energies.append(float(student.predict_in_field(batch.with_positions(positions), potentials).energy.sum()))
        assert float(forces[atom, axis]) == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-5)


def test_parts_of_a_large_system_sum_to_the_whole(monkeypatch):
    student = charged_student(dtype=torch.float64, kernel="cpu")
    batch = batch_from_atoms(examples.triclinic_crystal().repeat(5), dtype=torch.float64)
    potentials = torch.randn(batch.n_atoms, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = student.predict_in_field(batch, potentials)
    monkeypatch.setattr(student.kernel, "memory_bytes", student.kernel.needed_bytes(batch.n_atoms // 2, 0))
    calls = []
    sum_parts = cpu_kernel.sum_parts
    monkeypatch.setattr(cpu_kernel, "sum_parts", lambda *given: calls.append(1) or sum_parts(*given))
    monkeypatch.setattr("mlff_core.kernels.parts.FEWEST", 16)
    parts = student.predict_in_field(batch, potentials)
    assert calls
    torch.testing.assert_close(parts.energy, whole.energy, rtol=0, atol=1e-7)
    torch.testing.assert_close(parts.forces, whole.forces, rtol=0, atol=1e-9)


def test_a_list_of_neighbours_that_is_kept_changes_nothing():
    student = charged_student(dtype=torch.float64, kernel="cpu")
    running = VerletPotential(student, 1.0)
    batch, potentials = two_structures()
    for step in (0.0, 0.01, 0.02):
        moved = batch.with_positions(batch.positions + step * torch.sin(batch.positions))
        found, wanted = running.predict(moved, potentials=potentials), student.predict_in_field(moved, potentials)
        torch.testing.assert_close(found.energy, wanted.energy)
        torch.testing.assert_close(found.forces, wanted.forces)
    assert running.n_searches == 1


def test_bad_structures_are_refused_as_without_a_field():
    student = charged_student(dtype=torch.float64)
    batch = batch_from_atoms(examples.ethanol(), dtype=torch.float64)
    positions = batch.positions.clone()
    positions[0, 0] = torch.nan
    with pytest.raises(InputError, match="finite"):
        student.predict_in_field(batch.with_positions(positions), torch.zeros(batch.n_atoms))
    positions[0] = positions[1]
    with pytest.raises(InputError, match="overlap"):
        student.predict_in_field(batch.with_positions(positions), torch.zeros(batch.n_atoms))


def test_a_potential_without_charges_is_refused():
    batch = batch_from_atoms(examples.ethanol(), dtype=torch.float64)
    with pytest.raises(UnsupportedError, match="gives no charges of atoms"):
        small_student(dtype=torch.float64).predict_in_field(batch, torch.zeros(batch.n_atoms))
    with pytest.raises(UnsupportedError, match="no derivatives of its charges"):
        VerletPotential(charged_student(dtype=torch.float64)).predict_in_field(batch, torch.zeros(batch.n_atoms))
