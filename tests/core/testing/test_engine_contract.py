"""The contract passes a correct adapter, and each wrong one fails the test for its fault.

Over 300 lines, in one file because the wrong adapters are one list and no test imports another test's file.
"""

import os
from dataclasses import replace
from unittest import SkipTest

import numpy as np
import pytest
import torch

from mlff_core.errors import InputError, MlffError, OverlapError, UnsupportedError
from mlff_core.models.opening import load
from mlff_core.plugins.engine import Engine
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.neighbors import find_neighbors
from mlff_core.structures.prediction import Prediction
from mlff_core.testing import EngineContract, engine_contract, run_contract
from mlff_core.testing.engine_contract import CAPABILITIES
from mlff_core.testing.runner import run_test


class Direct(Engine):
    """The shortest correct adapter: it calls the potential."""

    name = "direct"
    summary = "Asks the potential itself."
    capabilities = CAPABILITIES

    def bind(self, potential, options=None):
        batch = (options or {}).get("batch")
        if batch is not None:
            potential.check(batch)
        return potential

    def evaluate(self, bound, batch):
        # Stress exists for periodic structures only, so a mixed batch goes without.
        want = {"energy", "forces", "atom_energies"} | ({"stress"} if bool(batch.pbc.any(dim=1).all()) else set())
        want |= {"charges"} & bound.supports
        return bound.predict(batch, want=want)


def direct(bound, batch):
    return Direct().evaluate(bound, batch)


class ForcesWithTheWrongSign(Direct):
    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        return replace(right, forces=-right.forces)


class ForcesInSlightlyOtherUnits(Direct):
    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        return replace(right, forces=right.forces * 1.0001)


class EnergySummedInFloat32(Direct):
    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        return replace(right, energy=right.energy.float().double())


class CellWithLatticeVectorsAsColumns(Direct):
    def evaluate(self, bound, batch):
        return direct(bound, replace(batch, cell=batch.cell.mT.contiguous()))


class WithStress(Direct):
    def changed(self, stress, batch):
        raise NotImplementedError

    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        return right if right.stress is None else replace(right, stress=self.changed(right.stress, batch))


class StressWithTheWrongSign(WithStress):
    def changed(self, stress, batch):
        return -stress


class VirialInsteadOfStress(WithStress):
    def changed(self, stress, batch):
        return stress * torch.linalg.det(batch.cell).abs()[:, None, None].to(stress)


class StressInAnotherVoigtOrder(WithStress):
    def changed(self, stress, batch):
        mixed = stress.clone()
        mixed[:, 0, 1] = mixed[:, 1, 0] = stress[:, 1, 2]
        mixed[:, 1, 2] = mixed[:, 2, 1] = stress[:, 0, 1]
        return mixed


class StressLeftInTheEnginesFrame(WithStress):
    """The engine rotates the cell to lower-triangular form; forces are rotated back, the stress is not."""

    def changed(self, stress, batch):
        q, _ = torch.linalg.qr(batch.cell.to(stress).mT)
        return q.mT @ stress @ q


class SpeciesOfTheFirstCall(Direct):
    def bind(self, potential, options=None):
        super().bind(potential, options)
        return [potential, None]

    def evaluate(self, bound, batch):
        if bound[1] is None or bound[1].shape != batch.atomic_numbers.shape:
            bound[1] = batch.atomic_numbers
        return direct(bound[0], replace(batch, atomic_numbers=bound[1]))


class CellOfTheFirstCall(Direct):
    def bind(self, potential, options=None):
        super().bind(potential, options)
        return [potential, None]

    def evaluate(self, bound, batch):
        if bound[1] is None or not bool(batch.pbc.all()):
            bound[1] = batch.cell
        return direct(bound[0], replace(batch, cell=bound[1]) if bool(batch.pbc.all()) else batch)


class PeriodicityOfTheFirstCall(Direct):
    def bind(self, potential, options=None):
        super().bind(potential, options)
        return [potential, None]

    def evaluate(self, bound, batch):
        bound[1] = batch.pbc if bound[1] is None or bound[1].shape != batch.pbc.shape else bound[1]
        right = direct(bound[0], replace(batch, pbc=bound[1]))
        return right if bool(batch.pbc.any()) else replace(right, stress=None)


class NeighborsOfTheFirstCall(Direct):
    def bind(self, potential, options=None):
        super().bind(potential, options)
        return [potential, None, 0]

    def evaluate(self, bound, batch):
        if bound[2] != batch.n_atoms:
            bound[1], bound[2] = find_neighbors(batch, bound[0].card.cutoff), batch.n_atoms
        return bound[0].predict(batch, edges=bound[1])


class ResultOfTheSamePositions(Direct):
    """A cache that compares positions only."""

    def bind(self, potential, options=None):
        super().bind(potential, options)
        return [potential, None, None]

    def evaluate(self, bound, batch):
        if bound[1] is None or not torch.equal(bound[1], batch.positions):
            bound[1:] = [batch.positions.clone(), direct(bound[0], batch)]
        return bound[2]


class NumberOfAtomsOfTheFirstCall(Direct):
    def bind(self, potential, options=None):
        super().bind(potential, options)
        return [potential, None]

    def evaluate(self, bound, batch):
        bound[1] = batch.n_atoms if bound[1] is None else bound[1]
        right = direct(bound[0], batch)
        return replace(right, forces=right.forces[: bound[1]])


class PeriodicityIgnored(Direct):
    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        alone = direct(bound, replace(batch, pbc=torch.zeros_like(batch.pbc)))
        return replace(alone, stress=right.stress)


class EveryCellTakenAsPeriodic(Direct):
    def evaluate(self, bound, batch):
        has_cell = batch.cell.abs().sum(dim=(1, 2)) > 0
        return direct(bound, replace(batch, pbc=batch.pbc | has_cell[:, None]))


class SlabTakenAsCrystal(Direct):
    def evaluate(self, bound, batch):
        return direct(bound, replace(batch, pbc=batch.pbc.any(dim=1, keepdim=True).expand(-1, 3)))


class NearestImageOnly(Direct):
    def evaluate(self, bound, batch):
        edges = find_neighbors(batch, bound.card.cutoff)
        vectors = batch.positions[edges.neighbors] - batch.positions[edges.centers]
        cells = batch.cell[batch.system_idx[edges.centers]]
        lengths = (vectors + torch.einsum("ei,eij->ej", edges.cell_shifts, cells)).norm(dim=1)
        pair = edges.centers * batch.n_atoms + edges.neighbors
        nearest = torch.full((batch.n_atoms**2,), np.inf, dtype=lengths.dtype).scatter_reduce(0, pair, lengths, "amin")
        keep = (lengths <= nearest[pair]) & (edges.centers != edges.neighbors)
        return bound.predict(batch, edges=edges.select(keep))


class AtomsOutsideTheCellNotWrapped(Direct):
    """Uses only the nearest images, which is enough only if every atom is inside the cell."""

    def evaluate(self, bound, batch):
        edges = find_neighbors(batch, bound.card.cutoff)
        return bound.predict(batch, edges=edges.select((edges.cell_shifts.abs() <= 2).all(dim=1)))


class MemoryOrderInsteadOfIndexOrder(Direct):
    def evaluate(self, bound, batch):
        flat = batch.positions.numpy().ravel(order="K").copy()
        return direct(bound, replace(batch, positions=torch.from_numpy(flat.reshape(-1, 3))))


class StridedNumbersRead(Direct):
    def evaluate(self, bound, batch):
        whole = torch.as_strided(batch.atomic_numbers, (batch.n_atoms,), (1,))
        return direct(bound, replace(batch, atomic_numbers=whole.clone()))


class WritesIntoItsInput(Direct):
    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        batch.positions.sub_(batch.positions.mean(dim=0))
        return right


class ReusesItsOutput(Direct):
    def bind(self, potential, options=None):
        super().bind(potential, options)
        return [potential, None]

    def evaluate(self, bound, batch):
        right = direct(bound[0], batch)
        if bound[1] is None or bound[1].shape != right.forces.shape:
            bound[1] = torch.empty_like(right.forces)
        bound[1].copy_(right.forces)
        return replace(right, forces=bound[1])


class Prints(Direct):
    def evaluate(self, bound, batch):
        print("step done")  # noqa: T201
        return direct(bound, batch)


class PrintsFromCompiledCode(Direct):
    def bind(self, potential, options=None):
        os.write(1, b"LAMMPS (22 Jul 2025)\n")
        return super().bind(potential, options)


class SetsTheDefaultDtype(Direct):
    def bind(self, potential, options=None):
        torch.set_default_dtype(torch.float64)  # noqa: TID251
        return super().bind(potential, options)


class ChangesTheNumberOfThreads(Direct):
    def bind(self, potential, options=None):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().bind(potential, options)


class DrawsRandomNumbers(Direct):
    def evaluate(self, bound, batch):
        torch.rand(1)
        return direct(bound, batch)


class DrawsRandomNumbersOfNumPy(Direct):
    def evaluate(self, bound, batch):
        np.random.random()
        return direct(bound, batch)


class NeedsGradModeOfTheCaller(Direct):
    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        return right if torch.is_grad_enabled() else replace(right, forces=torch.zeros_like(right.forces))


class DropsTheCharge(Direct):
    def evaluate(self, bound, batch):
        return direct(bound, replace(batch, charge=None))


class SwallowsNaN(Direct):
    def evaluate(self, bound, batch):
        return direct(bound, replace(batch, positions=torch.nan_to_num(batch.positions)))


class SwallowsEveryError(Direct):
    """Drops errors, as an engine with a callback that cannot raise."""

    def evaluate(self, bound, batch):
        try:
            return direct(bound, batch)
        except MlffError:
            return Prediction(
                energy=torch.zeros(batch.n_systems, dtype=torch.float64), forces=torch.zeros_like(batch.positions)
            )


class ZeroWhereAtomsOverlap(Direct):
    """A trial step that costs nothing, so that a line search takes it."""

    def evaluate(self, bound, batch):
        try:
            return direct(bound, batch)
        except OverlapError:
            energy = torch.full((batch.n_systems,), -1e6, dtype=torch.float64)
            return Prediction(energy=energy, forces=torch.zeros_like(batch.positions))


class RepelsWithoutForces(Direct):
    """A trial step whose forces are not the derivative of its energy."""

    def evaluate(self, bound, batch):
        try:
            return direct(bound, batch)
        except OverlapError:
            energy = -(batch.positions.double()[5] - batch.positions.double()[3]).norm().reshape(1)
            return Prediction(energy=energy, forces=torch.zeros_like(batch.positions))


class LosesTheWords(Direct):
    def evaluate(self, bound, batch):
        try:
            return direct(bound, batch)
        except MlffError as error:
            raise RuntimeError("callback failed") from error


class SaysItInOtherWords(Direct):
    def bind(self, potential, options=None):
        try:
            return super().bind(potential, options)
        except MlffError as error:
            raise type(error)(str(error).split(";")[0]) from error

    def evaluate(self, bound, batch):
        try:
            return direct(bound, batch)
        except MlffError as error:
            raise type(error)(str(error).split(";")[0]) from error


class StopsForGoodAfterAnError(Direct):
    def bind(self, potential, options=None):
        super().bind(potential, options)
        return [potential, None]

    def evaluate(self, bound, batch):
        if bound[1] is not None:
            raise bound[1]
        try:
            return direct(bound[0], batch)
        except MlffError as error:
            bound[1] = error
            raise


class ChecksNothingWhenBound(Direct):
    def bind(self, potential, options=None):
        return potential


class ForeignErrorWhenBound(Direct):
    def bind(self, potential, options=None):
        try:
            return super().bind(potential, options)
        except MlffError as error:
            raise ValueError(str(error)) from error


class TakesAnyVersion(Direct):
    requires = ("numpy>=1.26",)
    install_hint = "pip install numpy"


class SortsAtomsBySpecies(Direct):
    def evaluate(self, bound, batch):
        order = torch.argsort(batch.atomic_numbers, stable=True)
        sorted_batch = replace(batch, positions=batch.positions[order], atomic_numbers=batch.atomic_numbers[order])
        return direct(bound, sorted_batch)


class MixesStructuresOfABatch(Direct):
    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        return replace(right, energy=right.energy.flip(0))


class OffersStressAndGivesNone(Direct):
    def evaluate(self, bound, batch):
        return replace(direct(bound, batch), stress=None)


class EnergyFarFromThePositionsGiven(Direct):
    """Positions rounded to four decimals, as in a text file."""

    def evaluate(self, bound, batch):
        return direct(bound, batch.with_positions(torch.round(batch.positions, decimals=4)))


class DependsOnTheFrame(Direct):
    """A term in x only, as from a matrix that mixes x, y and z."""

    def evaluate(self, bound, batch):
        right = direct(bound, batch)
        x = batch.positions[:, 0]
        extra = torch.zeros_like(batch.positions)
        extra[:, 0] = -0.02 * x
        energy = right.energy.index_add(0, batch.system_idx, (0.01 * x * x).double())
        return replace(right, energy=energy, forces=right.forces + extra.to(right.forces))


WRONG = {
    ForcesWithTheWrongSign: ["a_molecule_equals_predict", "forces_are_minus_the_energy_gradient"],
    ForcesInSlightlyOtherUnits: ["a_molecule_equals_predict", "forces_are_minus_the_energy_gradient"],
    EnergySummedInFloat32: ["a_cluster_of_200_atoms_equals_predict"],
    CellWithLatticeVectorsAsColumns: [
        "a_triclinic_crystal_equals_predict",
        "a_cell_smaller_than_the_cutoff_equals_predict",
        "atoms_moved_by_lattice_vectors_change_nothing",
        "rotation_rotates_the_forces",
    ],
    StressWithTheWrongSign: [
        "a_triclinic_crystal_equals_predict",
        "stress_is_the_strain_derivative_in_a_triclinic_cell",
    ],
    VirialInsteadOfStress: ["stress_is_the_strain_derivative_in_a_triclinic_cell"],
    StressInAnotherVoigtOrder: [
        "a_triclinic_crystal_equals_predict",
        "stress_is_the_strain_derivative_in_a_triclinic_cell",
    ],
    StressLeftInTheEnginesFrame: [
        "stress_is_the_strain_derivative_in_a_triclinic_cell",
        "rotation_rotates_the_forces",
    ],
    SpeciesOfTheFirstCall: ["changed_species_are_noticed"],
    CellOfTheFirstCall: ["changed_cell_is_noticed", "stress_is_the_strain_derivative_in_a_triclinic_cell"],
    PeriodicityOfTheFirstCall: ["changed_pbc_is_noticed"],
    NeighborsOfTheFirstCall: ["the_hundredth_call_equals_the_first", "changed_pbc_is_noticed"],
    ResultOfTheSamePositions: [
        "changed_species_are_noticed",
        "changed_cell_is_noticed",
        "changed_pbc_is_noticed",
    ],
    NumberOfAtomsOfTheFirstCall: ["changed_number_of_atoms_is_noticed"],
    PeriodicityIgnored: [
        "a_triclinic_crystal_equals_predict",
        "a_cell_smaller_than_the_cutoff_equals_predict",
        "atoms_moved_by_lattice_vectors_change_nothing",
        "changed_pbc_is_noticed",
    ],
    EveryCellTakenAsPeriodic: ["a_dummy_cell_without_pbc_has_no_effect", "a_slab_equals_predict"],
    SlabTakenAsCrystal: ["a_slab_equals_predict"],
    NearestImageOnly: ["a_cell_smaller_than_the_cutoff_equals_predict"],
    AtomsOutsideTheCellNotWrapped: ["atoms_moved_by_lattice_vectors_change_nothing"],
    MemoryOrderInsteadOfIndexOrder: ["input_that_is_not_contiguous_gives_the_same"],
    TakesAnyVersion: ["a_version_outside_the_supported_range_is_refused_before_the_run"],
    StridedNumbersRead: ["input_that_is_not_contiguous_gives_the_same"],
    WritesIntoItsInput: ["the_input_is_not_changed"],
    ReusesItsOutput: ["the_output_is_the_callers_own"],
    Prints: ["nothing_is_printed"],
    PrintsFromCompiledCode: ["nothing_is_printed"],
    SetsTheDefaultDtype: ["process_settings_are_unchanged"],
    ChangesTheNumberOfThreads: ["process_settings_are_unchanged"],
    DrawsRandomNumbers: ["process_settings_are_unchanged"],
    DrawsRandomNumbersOfNumPy: ["process_settings_are_unchanged"],
    NeedsGradModeOfTheCaller: ["grad_mode_of_the_caller_does_not_matter"],
    DropsTheCharge: ["a_charged_system_is_refused_by_a_neutral_model"],
    SwallowsNaN: ["nan_is_refused"],
    SwallowsEveryError: [
        "an_unknown_element_is_refused_with_the_same_message",
        "nan_is_refused",
        "overlapping_atoms_are_refused",
        "a_charged_system_is_refused_by_a_neutral_model",
    ],
    ZeroWhereAtomsOverlap: ["a_jump_into_an_overlap_is_repelled_or_refused", "overlapping_atoms_are_refused"],
    RepelsWithoutForces: ["a_jump_into_an_overlap_is_repelled_or_refused"],
    LosesTheWords: [
        "an_unknown_element_is_refused_with_the_same_message",
        "nan_is_refused",
        "overlapping_atoms_are_refused",
        "a_jump_into_an_overlap_is_repelled_or_refused",
    ],
    SaysItInOtherWords: ["an_unknown_element_is_refused_with_the_same_message"],
    StopsForGoodAfterAnError: ["nan_is_refused", "overlapping_atoms_are_refused"],
    ChecksNothingWhenBound: [
        "an_unknown_element_is_refused_with_the_same_message",
        "nan_is_refused",
        "overlapping_atoms_are_refused",
        "a_charged_system_is_refused_by_a_neutral_model",
    ],
    ForeignErrorWhenBound: ["an_unknown_element_is_refused_with_the_same_message", "nan_is_refused"],
    SortsAtomsBySpecies: ["a_molecule_equals_predict", "permuted_atoms_have_permuted_forces"],
    MixesStructuresOfABatch: ["a_batch_equals_its_structures_one_by_one"],
    OffersStressAndGivesNone: ["a_triclinic_crystal_equals_predict"],
    EnergyFarFromThePositionsGiven: ["a_molecule_equals_predict", "forces_are_minus_the_energy_gradient"],
    DependsOnTheFrame: ["a_molecule_equals_predict", "rotation_rotates_the_forces"],
}


def contract_of(adapter):
    return type(f"ContractOf{adapter.__name__}", (EngineContract,), {"engine": adapter()})


def test_an_honest_adapter_passes_everything():
    failed = [result for result in run_contract(contract_of(Direct)) if result.status == "failed"]
    assert not failed, failed


@pytest.mark.parametrize(
    ("adapter", "name"),
    [(adapter, name) for adapter, names in WRONG.items() for name in names],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_wrong_adapter_fails(adapter, name):
    result = run_test(contract_of(adapter), f"test_{name}")
    assert result.status == "failed"
    assert result.message


class MoleculesOnly(Direct):
    """Supports molecules only, and raises an error for a crystal."""

    capabilities = frozenset({"charge"})

    def evaluate(self, bound, batch):
        if bool(batch.pbc.any()):
            raise InputError("periodic structures are not served by this engine; switch pbc off")
        if batch.n_systems > 1:
            raise InputError("one structure at a time")
        return replace(direct(bound, batch), atom_energies=None)


class MoleculesOnlyInSilence(MoleculesOnly):
    def evaluate(self, bound, batch):
        return super().evaluate(bound, replace(batch, pbc=torch.zeros_like(batch.pbc)))


def test_what_an_engine_does_not_offer_is_skipped_and_not_passed():
    results = {result.name: result for result in run_contract(contract_of(MoleculesOnly))}
    assert not [result for result in results.values() if result.status == "failed"]
    assert results["a triclinic crystal equals predict"].status == "skipped"
    assert results["a periodicity it cannot serve is refused"].status == "ok"


class StudentsOnly(Direct):
    """Needs a network, and raises an error without one."""

    students_only = True

    def bind(self, potential, options=None):
        if not isinstance(potential, StudentPotential):
            raise UnsupportedError("only a student has a network to write")
        return super().bind(potential, options)


class StudentsOnlyInSilence(Direct):
    students_only = True


def test_an_engine_for_students_only_is_asked_with_students_only():
    results = {result.name: result for result in run_contract(contract_of(StudentsOnly))}
    assert not [result for result in results.values() if result.status == "failed"]
    name = "a potential that is no student is refused where only students are taken"
    assert results[name].status == "ok"
    assert run_test(contract_of(Direct), f"test_{name.replace(' ', '_')}").status == "skipped"
    assert run_test(contract_of(StudentsOnlyInSilence), f"test_{name.replace(' ', '_')}").status == "failed"


def test_dropping_pbc_in_silence_fails():
    with pytest.raises(AssertionError, match="nothing was raised"):
        contract_of(MoleculesOnlyInSilence)().test_a_periodicity_it_cannot_serve_is_refused()


def test_a_test_that_does_not_apply_raises_what_pytest_takes_as_skipped():
    with pytest.raises(SkipTest):
        contract_of(MoleculesOnly)().test_a_slab_equals_predict()


def test_the_message_says_what_where_and_how_much():
    with pytest.raises(AssertionError, match=r"force [xyz] on atom \d.*off by .* eV/Å, at most .* is allowed"):
        contract_of(ForcesWithTheWrongSign)().test_a_molecule_equals_predict()


def test_an_adapter_that_opens_the_file_at_each_call_fails(monkeypatch):
    class OpensTheFileAtEachCall(Direct):
        path = None

        def evaluate(self, bound, batch):
            return direct(load(self.path, device="cpu"), batch)

    def loaded(path, **options):
        OpensTheFileAtEachCall.path = path
        return load(path, **options)

    monkeypatch.setattr(engine_contract, "load", loaded)
    result = run_test(contract_of(OpensTheFileAtEachCall), "test_a_model_file_changed_during_a_run_changes_nothing")
    assert result.status == "failed"
    assert "the file overwritten: energy" in result.message


def test_an_object_with_close_is_closed():
    closed = []

    class Held:
        def __init__(self, potential):
            self.potential = potential

        def close(self):
            closed.append(self)

    class Holding(Direct):
        def bind(self, potential, options=None):
            return Held(potential)

        def evaluate(self, bound, batch):
            return direct(bound.potential, batch)

    contract_of(Holding)().test_a_molecule_equals_predict()
    assert len(closed) == 4  # two models in two precisions
