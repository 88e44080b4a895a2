"""The contract that every engine's plugin passes, shipped so that plugins of other packages run it too.

Over 300 lines in one file because the writer of a plugin needs all tests in one place.

    from mlff_core.testing import EngineContract

    class TestMyEngine(EngineContract):
        engine = MyEngine()

Tests are plain methods that raise AssertionError. A test that does not apply raises ``unittest.SkipTest``, which
pytest reports as skipped. Each goes through :meth:`~mlff_core.plugins.engine.Engine.bind` and
:meth:`~mlff_core.plugins.engine.Engine.evaluate`, first with an analytic pair potential, then with a real student.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

import numpy as np
import torch

from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.models.opening import load
from mlff_core.plugins.through_engine import ThroughEngine
from mlff_core.structures.batch import AtomicBatch
from mlff_core.testing import isolation, potential_checks, provider_checks, structures
from mlff_core.testing.engine_runs import MAKERS, EngineRuns
from mlff_core.testing.reference_potential import PairPotential, charged_student, small_student
from mlff_core.testing.structures import to_batch
from mlff_core.testing.tolerances import assert_prediction_close

CAPABILITIES = frozenset(
    {"stress", "atom_energies", "charges", "hessian", "periodic", "slab", "batch", "charge", "float64"}
)

N_APPROACH = 20
"""Steps in which two atoms are brought together, 0.08 Å each."""

TRIAL_SLOPE = 0.01
"""Largest error of the forces of a trial step against the energy's derivative, relative to the largest force."""


class EngineContract(EngineRuns):
    """Tests of an engine; subclass it and set ``engine``.

    Attributes
    ----------
    engine
        The engine under test.
    options
        Passed to ``bind`` together with ``"batch"``, the first structure.
    potentials
        Models to test with, a subset of ``"pair"`` and ``"student"``; by default all that the engine accepts.
    device
        Device of the models.
    n_repeats
        Number of calls between the first and the last of a run.
    module
        The plugin's module; that of the engine's class by default.
    engine_modules
        Modules that importing the plugin must not import; those of its packages by default.
    """

    n_repeats: ClassVar[int] = 100
    module: ClassVar[str | None] = None
    engine_modules: ClassVar[tuple[str, ...] | None] = None

    # Equal to predict

    def test_describes_itself(self) -> None:
        """Name, requirements and capabilities are given, and every capability is a known one."""
        engine = self.engine
        unknown = engine.capabilities - CAPABILITIES
        if unknown:
            raise AssertionError(f"unknown capabilities {sorted(unknown)}; known are {sorted(CAPABILITIES)}")
        if "slab" in engine.capabilities and "periodic" not in engine.capabilities:
            raise AssertionError("an engine with the capability slab must have periodic too")
        provider_checks.check_says_what_it_is(engine, "an engine")

    def test_a_molecule_equals_predict(self) -> None:
        """A molecule whose cell is zero."""
        self._equals_predict(structures.ethanol())

    def test_a_dummy_cell_without_pbc_has_no_effect(self) -> None:
        """A molecule in a cell with pbc off has no periodic images."""
        self._equals_predict(structures.molecule_in_dummy_cell())

    def test_one_atom_equals_predict(self) -> None:
        """An atom without neighbours has its own energy and zero force."""
        self._equals_predict(structures.one_atom())

    def test_a_cluster_of_200_atoms_equals_predict(self) -> None:
        """Enough atoms that float32 would round the total energy."""
        self._equals_predict(structures.cluster())

    def test_a_triclinic_crystal_equals_predict(self) -> None:
        """A cell without symmetry: a transpose or a missing rotation would make it another crystal."""
        self._needs("periodic")
        self._equals_predict(structures.triclinic_crystal())

    def test_a_cell_smaller_than_the_cutoff_equals_predict(self) -> None:
        """Each atom has several images of the others, and of itself, as neighbours."""
        self._needs("periodic")
        self._equals_predict(structures.small_cell())

    def test_a_slab_equals_predict(self) -> None:
        """Periodic along two lattice vectors only."""
        self._needs("slab")
        self._equals_predict(structures.slab())

    def test_a_periodicity_it_cannot_serve_is_refused(self) -> None:
        """An engine that does not support slabs or crystals raises an error and does not ignore ``pbc``."""
        missing = {"periodic": structures.triclinic_crystal(), "slab": structures.slab()}
        missing = {name: atoms for name, atoms in missing.items() if name not in self.engine.capabilities}
        if not missing:
            raise SkipTest("crystals and slabs are supported")
        for name, atoms in missing.items():
            for bound in self._models():
                self._refused(
                    f"a structure that needs {name!r}",
                    partial(bound.predict, to_batch(atoms)),
                    ("period", "pbc", "slab", "crystal"),
                )

    def test_charges_of_atoms_equal_predict(self) -> None:
        """A student that gives charges gives the same ones through an engine that has the capability ``charges``."""
        self._needs("charges")
        with ThroughEngine(self.engine, charged_student(device=self.device), self.options) as bound:
            for atoms in self._molecule_and_crystal():
                batch = to_batch(atoms)
                found, wanted = bound.predict(batch), bound.wanted(batch)
                if found.charges is None:
                    raise AssertionError("the engine has the capability charges, but it returned none")
                assert_prediction_close(found, wanted, batch, bound.tolerance, "charges of atoms")

    # Physics through the engine

    def test_forces_are_minus_the_energy_gradient(self) -> None:
        """F = −dE/dx by finite difference, both from the engine."""
        for bound in self._models():
            potential_checks.check_forces_are_the_gradient_of_the_energy(bound, structures.ethanol())

    def test_stress_is_the_strain_derivative_in_a_triclinic_cell(self) -> None:
        """Sign, volume factor, component order and frame of the stress agree with energies of the strained crystal."""
        self._needs("stress")
        for bound in self._models():
            potential_checks.check_stress_is_the_strain_derivative(bound, structures.triclinic_crystal())

    def test_atoms_moved_by_lattice_vectors_change_nothing(self) -> None:
        """Atoms outside the cell are images of atoms inside."""
        self._needs("periodic")
        for bound in self._models():
            potential_checks.check_lattice_vectors_change_nothing(
                bound, structures.triclinic_crystal(), self._invariance(bound)
            )

    def test_permuted_atoms_have_permuted_forces(self) -> None:
        """The order of the atoms is kept."""
        for bound in self._models():
            potential_checks.check_permutation_permutes_forces(bound, structures.ethanol(), self._invariance(bound))

    def test_rotation_rotates_the_forces(self) -> None:
        """A rotated structure has rotated forces, and a rotated stress where there is one."""
        for bound in self._models():
            for atoms in self._molecule_and_crystal():
                potential_checks.check_rotation_turns_forces_and_stress(bound, atoms, self._invariance(bound))

    def test_inversion_reverses_the_forces(self) -> None:
        """The mirror image has reversed forces."""
        for bound in self._models():
            for atoms in self._molecule_and_crystal():
                potential_checks.check_inversion_reverses_forces(bound, atoms, self._invariance(bound))

    def test_a_batch_equals_its_structures_one_by_one(self) -> None:
        """Several structures at once give the same results, or a clear error if the engine takes one structure only."""
        frames = [structures.ethanol(), structures.one_atom(), structures.cluster(30)]
        for bound in self._models():
            if "batch" in self.engine.capabilities:
                potential_checks.check_batch_equals_singles(bound, frames, self._invariance(bound))
                continue
            batch = to_batch(frames)
            try:
                found = bound.predict(batch)
            except MlffError:
                continue
            assert_prediction_close(found, bound.wanted(batch), batch, bound.tolerance, "a batch")

    # State from call to call

    def test_changed_species_are_noticed(self) -> None:
        """The same positions with other elements: no cached value of the earlier elements is used."""
        other = structures.ethanol()
        other.symbols = "NOCHHHHHH"
        self._each_equals_predict([structures.ethanol(), other, structures.ethanol()])

    def test_changed_cell_is_noticed(self) -> None:
        """The same positions in another cell."""
        self._needs("periodic")
        crystal, strained = structures.triclinic_crystal(), structures.triclinic_crystal()
        strained.set_cell(np.asarray(crystal.cell) * [[1.02], [1.0], [0.97]], scale_atoms=False)
        self._each_equals_predict([crystal, strained, crystal])

    def test_changed_pbc_is_noticed(self) -> None:
        """The same positions and cell, periodic or not."""
        self._needs("periodic")
        crystal, isolated = structures.triclinic_crystal(), structures.triclinic_crystal()
        isolated.pbc = False
        self._each_equals_predict([crystal, isolated, crystal])

    def test_changed_number_of_atoms_is_noticed(self) -> None:
        """Fewer atoms, then more."""
        molecule = structures.ethanol()
        self._each_equals_predict([molecule, molecule[:5], structures.cluster(30), structures.one_atom(), molecule])

    def test_the_hundredth_call_equals_the_first(self) -> None:
        """A cluster shrinks step by step, so that pairs come into the cutoff, and jumps back."""
        start, random = structures.cluster(30), np.random.RandomState(9)
        # One model is enough: the adapter holds the caches.
        with ThroughEngine(self.engine, MAKERS[self._potentials()[0]](device=self.device), self.options) as bound:
            batch = to_batch(start)
            first, moving = bound.predict(batch), start.copy()
            for step in range(self.n_repeats - 2):
                moving.positions = start.positions * (1 - 0.15 * step / self.n_repeats)
                moving.positions += random.normal(scale=0.01, size=moving.positions.shape)
                last = bound.predict(to_batch(moving))
            shrunk = to_batch(moving)
            assert_prediction_close(last, bound.wanted(shrunk), shrunk, bound.tolerance, "at the end of a walk")
            assert_prediction_close(bound.predict(batch), first, batch, bound.tolerance, "the hundredth call")

    def test_a_model_file_changed_during_a_run_changes_nothing(self) -> None:
        """The loaded model stays in use when its file is overwritten or deleted."""
        if "student" not in self._potentials():
            raise SkipTest("the engine takes no student")
        batch = to_batch(structures.ethanol())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.pt"
            first, second = small_student(seed=0), small_student(seed=1)
            save_checkpoint(path, first.model, first.card)
            with ThroughEngine(self.engine, load(path, device=self.device), self.options) as bound:
                before = bound.predict(batch)
                save_checkpoint(Path(folder) / "other.pt", second.model, second.card)
                # Written into the same file, as `cp` does: a memory-mapped file would change.
                path.write_bytes((Path(folder) / "other.pt").read_bytes())
                assert_prediction_close(bound.predict(batch), before, batch, bound.tolerance, "the file overwritten")
                path.unlink()
                assert_prediction_close(bound.predict(batch), before, batch, bound.tolerance, "the file removed")

    # Input, output and process settings

    def test_input_that_is_not_contiguous_gives_the_same(self) -> None:
        """Strided, transposed and expanded tensors, as slices of larger arrays are."""
        for bound in self._models():
            for atoms in self._molecule_and_crystal():
                plain = to_batch(atoms)
                # A Fortran-ordered array, every second element of a longer one, and stride zero.
                batch = AtomicBatch(
                    positions=plain.positions.T.contiguous().T,
                    atomic_numbers=plain.atomic_numbers.repeat_interleave(2)[::2],
                    cell=plain.cell.mT.contiguous().mT,
                    pbc=plain.pbc.repeat_interleave(2, dim=1)[:, ::2],
                    system_idx=torch.zeros(1, dtype=torch.int64).expand(plain.n_atoms),
                )
                found = bound.predict(batch)
                assert_prediction_close(found, bound.wanted(plain), plain, bound.tolerance, "strided input")

    def test_the_input_is_not_changed(self) -> None:
        """The caller's tensors are unchanged afterwards."""
        for bound in self._models():
            for atoms in self._molecule_and_crystal():
                if atoms.pbc.any():
                    atoms = structures.moved_by_lattice_vectors(atoms)
                batch, kept = to_batch(atoms), to_batch(atoms)
                bound.predict(batch)
                for field in ("positions", "atomic_numbers", "cell", "pbc", "system_idx"):
                    if not torch.equal(getattr(batch, field), getattr(kept, field)):
                        raise AssertionError(f"{bound.card.name}: the engine wrote into the caller's {field}")

    def test_the_output_is_the_callers_own(self) -> None:
        """A prediction keeps its values when the next structure is computed."""
        molecule, moved = structures.ethanol(), structures.ethanol()
        moved.rattle(0.1, seed=1)
        for bound in self._models():
            batch = to_batch(molecule)
            first = bound.predict(batch)
            bound.predict(to_batch(moved))
            assert_prediction_close(first, bound.wanted(batch), batch, bound.tolerance, "after the next call")

    def test_process_settings_are_unchanged(self) -> None:
        """Default dtype, grad mode, random states and number of threads are those of the caller."""
        with isolation.recorded_changes() as changed:
            for bound in self._models():
                bound.predict(to_batch(structures.ethanol()))
        isolation.assert_nothing_changed(changed, f"engine {self.engine.name}")

    def test_grad_mode_of_the_caller_does_not_matter(self) -> None:
        """Inside ``torch.no_grad()`` the forces are the same."""
        for bound in self._models():
            batch = to_batch(structures.ethanol())
            with torch.no_grad():
                found = bound.predict(batch)
            assert_prediction_close(found, bound.wanted(batch), batch, bound.tolerance, "inside no_grad")

    def test_nothing_is_printed(self) -> None:
        """Neither binding nor evaluating writes to standard output or error."""
        with isolation.recorded_output() as written:
            for bound in self._models():
                bound.predict(to_batch(structures.ethanol()))
        isolation.assert_nothing_printed(written, f"engine {self.engine.name}")

    # Bad input

    def test_an_unknown_element_is_refused_with_the_same_message(self) -> None:
        """Uranium in a model for organic molecules: the engine's error contains the model's whole message."""
        bad = structures.ethanol()
        bad.numbers[2] = 92
        self._refused_bound_and_running(bad, ("does not know U",), UnsupportedError, verbatim=True)

    def test_a_potential_that_is_no_student_is_refused_where_only_students_are_taken(self) -> None:
        """An engine that needs the network raises the error when it is bound."""
        if not self.engine.students_only:
            raise SkipTest("the engine accepts every potential")
        options = {**self.options, "batch": to_batch(structures.ethanol())}
        bind = partial(self.engine.bind, PairPotential(device=self.device), options)
        error = self._refused("a potential without a network", bind, ("student",))
        if not isinstance(error, UnsupportedError):
            raise AssertionError(f"wanted UnsupportedError, got {type(error).__name__}: {error}")

    def test_nan_is_refused(self) -> None:
        """A coordinate is NaN, as in a simulation that became unstable."""
        bad = structures.ethanol()
        bad.positions[4, 1] = np.nan
        self._refused_bound_and_running(bad, ("finite", "nan"), InputError)

    def test_overlapping_atoms_are_refused(self) -> None:
        """Check that atoms that come closer than 0.3 Å in small steps, as in dynamics, are refused."""
        start, bad = structures.ethanol(), structures.ethanol()
        bad.positions[5] = bad.positions[3] + [0.0, 0.15, 0.2]
        approach = [start.copy() for _ in range(1, N_APPROACH)]
        for k, atoms in enumerate(approach, start=1):
            atoms.positions += (bad.positions - start.positions) * k / N_APPROACH
        self._refused_bound_and_running(bad, ("overlap",), InputError, approach=approach)

    def test_a_jump_into_an_overlap_is_repelled_or_refused(self) -> None:
        """Check a minimiser's trial step: a finite energy above the last one with consistent forces, or a refusal."""
        jumped = structures.ethanol()
        jumped.positions[5] = jumped.positions[3] + [0.0, 0.05, 0.1]
        for bound in self._models():
            good, trial = to_batch(structures.ethanol()), to_batch(jumped)
            before = float(bound.predict(good).energy[0])
            try:
                energy = float(bound.predict(trial).energy[0])
            except Exception as error:
                if "overlap" not in str(error).lower():
                    raise AssertionError(
                        f"{bound.card.name}: a jump into an overlap must be refused as one, "
                        f"got {type(error).__name__}: {error}"
                    ) from error
            else:
                if not (np.isfinite(energy) and energy > before):
                    raise AssertionError(
                        f"{bound.card.name}: a jump into an overlap must cost energy, but {before} eV became "
                        f"{energy} eV"
                    )
                potential_checks.check_forces_are_the_gradient_of_the_energy(bound, jumped, tolerance=TRIAL_SLOPE)
            found = bound.predict(good)
            assert_prediction_close(found, bound.wanted(good), good, bound.tolerance, "back from a jump")

    def test_a_charged_system_is_refused_by_a_neutral_model(self) -> None:
        """A total charge is not ignored with a model that supports neutral systems only."""
        bad = structures.ethanol()
        bad.info["charge"] = 1.0
        self._refused_bound_and_running(bad, ("charge",), UnsupportedError)

    def test_an_odd_number_of_electrons_is_refused_by_a_closed_shell_model(self) -> None:
        """Check that ethanol without one hydrogen atom is refused: a lost proton or atom must not give an energy."""
        bad = structures.ethanol()[:-1]
        self._refused_bound_and_running(bad, ("25 electrons",), UnsupportedError, verbatim=True, closed_shell=True)

    def test_a_neutral_charge_is_accepted(self) -> None:
        """An explicit total charge of zero has the same effect as none."""
        atoms = structures.ethanol()
        atoms.info["charge"] = 0.0
        self._equals_predict(atoms)

    # Without the engine

    def test_importing_the_plugin_imports_no_engine(self) -> None:
        """Importing the plugin is fast, so that listing plugins is."""
        provider_checks.check_plugin_is_light(self.engine, self.module, self.engine_modules)

    def test_without_its_package_the_hint_is_shown(self) -> None:
        """The plugin still imports, and using it raises an error with the install command."""
        provider_checks.check_hint_without_packages(self.engine, "provider.bind(potential, {})")

    def test_a_version_outside_the_supported_range_is_refused_before_the_run(self) -> None:
        """Binding raises an error with the wanted version, the installed one, and the install command."""
        isolation.check_old_versions_are_refused(self.engine, lambda: self.engine.bind(small_student(), self.options))
