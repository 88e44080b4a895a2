"""The contract that every teacher's plugin passes, shipped so that plugins of other packages run it too.

Over 300 lines in one file because the writer of a plugin needs all tests in one place.

    from mlff_core.testing import TeacherContract

    class TestMyTeacher(TeacherContract):
        teacher = "my-teacher"
        options = {"weights_path": "…"}

Tests are plain methods that raise AssertionError. A test that does not apply raises ``unittest.SkipTest``, which
pytest reports as skipped. Labels that pass are in eV and Å, are reproducible, and obey physics.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
import torch
from ase import Atoms

from mlff_core.errors import InputError, MissingDependencyError, MlffError, UnsupportedError
from mlff_core.plugins import host as plugins
from mlff_core.plugins.engine import Tolerance
from mlff_core.plugins.teacher import Teacher
from mlff_core.potentials.interface import PROPERTIES, Potential
from mlff_core.structures.batch import AtomicBatch, concatenate
from mlff_core.structures.difference import differences
from mlff_core.structures.prediction import Prediction
from mlff_core.testing import isolation, potential_checks, provider_checks, structures
from mlff_core.testing.structures import to_batch
from mlff_core.testing.tolerances import assert_prediction_close

LINEAGE_KEYS = {"name", "method", "package", "version", "sha256", "licence", "settings"}


class TeacherContract:
    """Tests of a teacher; subclass it and set ``teacher``.

    Attributes
    ----------
    teacher
        The teacher under test, or its name.
    options
        Passed to ``load``.
    force_tolerance
        Largest deviation of the forces from minus the energy gradient, relative to max(1 eV/Å, largest force).
    stress_tolerance
        Largest deviation of the stress from the strain derivative, eV/Å³.
    invariance
        Largest difference between labels of two equivalent forms of one structure.
    reproducible
        Largest difference between labels of one structure from different calls and processes; eV and eV/Å.
    """

    teacher: ClassVar[Teacher | str]
    options: ClassVar[Mapping[str, Any]] = {}
    force_tolerance: ClassVar[float] = 2e-3
    stress_tolerance: ClassVar[float] = 5e-5
    invariance: ClassVar[Tolerance] = Tolerance(energy=1e-5, forces=1e-4, stress=1e-5)
    reproducible: ClassVar[float] = 1e-5

    def molecule(self) -> Atoms:
        """Return a molecule without symmetry, off its minimum; override it for a teacher of other elements."""
        return structures.ethanol()

    def crystal(self) -> Atoms:
        """Return the molecule in a triclinic cell, where a transpose changes the result."""
        atoms = self.molecule()
        atoms.set_cell([[6.9, 0.3, -0.2], [-0.8, 5.6, 0.4], [0.5, 0.7, 5.2]])
        atoms.pbc = True
        return atoms

    def bond(self) -> tuple[Atoms, int, int, float]:
        """Return a relaxed structure, the indices of two bonded atoms, and the bond's experimental stiffness, eV/Å²."""
        # O–H of water: 8.45 mdyn/Å.
        return Atoms("OHH", [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]), 0, 1, 52.7

    # Description

    def test_describes_itself(self) -> None:
        """Name, summary, options and install command are given, and every property is a known one."""
        teacher = self._teacher()
        unknown = teacher.gives - set(PROPERTIES)
        if unknown or not {"energy", "forces"} <= teacher.gives:
            raise AssertionError(f"gives must contain energy and forces, and only {PROPERTIES}; got {teacher.gives}")
        provider_checks.check_says_what_it_is(teacher, "a teacher")

    def test_the_card_is_complete(self) -> None:
        """The card gives teacher, method, package, version and licence in JSON types."""
        potential = self._potential()
        card, lineage = potential.card, dict(potential.card.teacher)
        if set(lineage) != LINEAGE_KEYS:
            raise AssertionError(f"card.teacher must have the keys {sorted(LINEAGE_KEYS)}, has {sorted(lineage)}")
        for key in ("name", "method", "package", "version", "licence"):
            if not lineage[key] or not isinstance(lineage[key], str):
                raise AssertionError(f"card.teacher[{key!r}] must not be empty, is {lineage[key]!r}")
        if lineage["name"] != self._teacher().name:
            raise AssertionError(f"card.teacher is of {lineage['name']!r}, the teacher is {self._teacher().name!r}")
        if card.n_parameters and not re.fullmatch("[0-9a-f]{64}", lineage["sha256"]):
            raise AssertionError("a teacher with weights must give their sha256 in card.teacher")
        if json.loads(json.dumps(card.to_dict())) != card.to_dict():
            raise AssertionError("the card does not survive JSON: use dicts, lists, strings and numbers only")
        if not potential.supports <= self._teacher().gives:
            raise AssertionError(f"the potential gives {set(potential.supports)}, more than {self._teacher().gives}")

    def test_an_unknown_option_is_refused(self) -> None:
        """A misspelt option is an error that names it, not a default."""
        try:
            self._teacher().load({**self.options, "no_such_option": 1})
        except InputError as error:
            if "no_such_option" not in str(error):
                raise AssertionError(f"the message does not name the option: {error}") from error
        else:
            raise AssertionError("an unknown option was accepted without an error")

    def test_a_missing_package_gives_the_line_that_installs_it(self) -> None:
        """Without its package the teacher raises an error with the install command."""
        teacher = self._teacher()
        if not teacher.requires:
            raise SkipTest("the teacher needs no package beyond the core's")
        without_package = copy.copy(teacher)
        without_package.requires = ("a-package-that-nobody-has>=1",)  # type: ignore[misc]
        try:
            without_package.load(self.options)
        except MissingDependencyError as error:
            if teacher.install_hint not in str(error):
                raise AssertionError(f"the install hint is not in the message: {error}") from error
        else:
            raise AssertionError("no MissingDependencyError was raised although the package is absent")

    def test_importing_the_plugin_imports_no_engine(self) -> None:
        """Listing teachers is fast: the package is imported when the teacher is loaded."""
        provider_checks.check_plugin_is_light(self._teacher())

    # Physics

    def test_forces_are_minus_the_energy_gradient(self) -> None:
        """F = −dE/dx by finite difference, without a cell and, if the teacher supports cells, in one."""
        self._needs_gradient_forces()
        for atoms in self._structures():
            potential_checks.check_forces_are_the_gradient_of_the_energy(
                self._potential(), atoms, tolerance=self.force_tolerance
            )

    def test_stress_is_the_strain_derivative(self) -> None:
        """Stress by finite difference, in a triclinic cell."""
        self._needs_gradient_forces()
        potential_checks.check_stress_is_the_strain_derivative(
            self._potential(), self._known(self.crystal()), tolerance=self.stress_tolerance
        )

    def test_a_bond_has_the_experimental_stiffness(self) -> None:
        """Energies are in eV and lengths in Å: any other unit changes the stiffness by a factor of at least 3."""
        atoms, i, j, stiffness = self.bond()
        self._known(atoms)
        along = atoms.positions[j] - atoms.positions[i]
        along /= np.linalg.norm(along)
        frames = []
        for step in (-0.05, 0.0, 0.05):
            frame = atoms.copy()
            frame.positions[j] += step * along
            frames.append(frame)
        energy = self._potential().predict(to_batch(frames)).energy
        found = float(energy[0] - 2 * energy[1] + energy[2]) / 0.05**2
        if not stiffness / 2 < found < stiffness * 2:
            raise AssertionError(
                f"units: the bond {atoms.symbols[i]}–{atoms.symbols[j]} has a stiffness of {found:.3g} eV/Å², "
                f"the experimental value is {stiffness:.3g}; are energies in eV and lengths in Å?"
            )

    def test_labels_do_not_depend_on_place_orientation_or_order(self) -> None:
        """Labels obey translation, rotation, inversion, permutation, and shifts by lattice vectors in a cell."""
        potential = self._potential()
        for atoms in self._structures():
            potential_checks.check_translation_changes_nothing(potential, atoms, self.invariance)
            potential_checks.check_permutation_permutes_forces(potential, atoms, self.invariance)
            if atoms.pbc.any():
                potential_checks.check_lattice_vectors_change_nothing(potential, atoms, self.invariance)
            if self._is_conservative():
                potential_checks.check_rotation_turns_forces_and_stress(potential, atoms, self.invariance)
            if self._is_conservative() and self._knows_mirrors():
                potential_checks.check_inversion_reverses_forces(potential, atoms, self.invariance)

    def test_a_dummy_cell_without_pbc_has_no_effect(self) -> None:
        """A molecule in a cell with pbc off has no periodic images."""
        atoms = self._known(self.molecule())
        boxed = atoms.copy()
        boxed.set_cell([[3.1, 0.2, 0.0], [0.4, 2.9, -0.3], [0.1, 0.5, 3.3]])
        self._compare(self._labels(boxed), self._labels(atoms), to_batch(atoms), "in a dummy cell")

    def test_batch_equals_singles(self) -> None:
        """Structures of different sizes, with or without a cell, get the same labels together as alone."""
        structure = self._known(self.molecule())
        frames = [structure, self._known(self.bond()[0]), *self._structures()[1:], _moved(structure)]
        potential_checks.check_batch_equals_singles(self._potential(), frames, self.invariance)

    def test_a_charge_changes_the_energy(self) -> None:
        """A teacher that supports charges does not ignore them."""
        card = self._potential().card
        if card.charges != "any":
            raise SkipTest("the teacher supports neutral systems only")
        atoms = self._known(self.molecule())
        neutral = self._labels(atoms)
        atoms.info["charge"] = 1.0
        if card.spin_multiplicities == "any":
            odd = (int(atoms.numbers.sum()) - 1) % 2
            atoms.info["spin_multiplicity"] = 1 + odd
        elif card.spin_multiplicities == "closed shell" and int(atoms.numbers.sum()) % 2 == 0:
            atoms.info["charge"] = 2.0
        charged = self._labels(atoms)
        if not abs(float(charged.energy[0] - neutral.energy[0])) > 0.1:
            raise AssertionError("the energy of the cation is that of the neutral molecule: the charge is ignored")

    # Reproducible labels, and an unchanged process

    def test_labels_are_reproducible(self) -> None:
        """The same structure again, after another one, and from a teacher loaded anew."""
        atoms, potential = self._known(self.molecule()), self._potential()
        first = self._labels(atoms)
        again = self._labels(atoms)
        potential.predict(to_batch(_moved(atoms)))
        later = self._labels(atoms)
        anew = self._teacher().load(self.options).predict(to_batch(atoms))
        for found, what in ((again, "at once"), (later, "after another structure"), (anew, "loaded anew")):
            self._same_labels(found, first, to_batch(atoms), what)

    def test_a_worker_process_gives_the_same_labels_and_is_left_as_it_was(self) -> None:
        """``functools.partial(teacher.load, options)`` can be pickled; importing the package changes nothing."""
        atoms = self._known(self.molecule())
        here = self._labels(atoms)
        message = pickle.dumps((functools.partial(self._teacher().load, dict(self.options)), _arrays(to_batch(atoms))))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        done = subprocess.run(
            [sys.executable, "-c", _WORKER], input=message, capture_output=True, env=environment, check=False
        )
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise AssertionError(f"in a fresh process: {lines[-1] if lines else f'exit status {done.returncode}'}")
        energy, forces = json.loads(done.stdout)
        there = Prediction(torch.tensor(energy, dtype=torch.float64), torch.tensor(forces, dtype=torch.float64))
        self._same_labels(there, here, to_batch(atoms), "in another process")

    def test_inputs_and_settings_are_left_alone_and_nothing_is_printed(self) -> None:
        """Positions, torch's globals and random states are unchanged, nothing is printed, and no_grad is respected."""
        batch = to_batch(self._known(self.molecule()))
        kept = {name: getattr(batch, name).clone() for name in ("positions", "atomic_numbers", "cell", "pbc")}
        with isolation.recorded_output() as written, isolation.recorded_changes() as changed:
            potential = self._teacher().load(self.options)
            plain = potential.predict(batch)
            with torch.inference_mode():
                without_gradients = potential.predict(batch)
        isolation.assert_nothing_printed(written, self._teacher().name)
        isolation.assert_nothing_changed(changed, self._teacher().name)
        self._same_labels(without_gradients, plain, batch, "in inference mode")
        for name, before in kept.items():
            if not torch.equal(getattr(batch, name), before):
                raise AssertionError(f"the caller's {name} were changed")
        if batch.positions.requires_grad or (plain.forces is not None and plain.forces.requires_grad):
            raise AssertionError("positions or labels require a gradient; they must be detached")

    # Unsupported input

    def test_bad_input_is_refused_before_the_engine_is_called(self) -> None:
        """NaN, infinity, no atoms, unknown elements, unsupported charges and multiplicities are refused."""
        potential = copy.copy(self._potential())
        atoms = self._known(self.molecule())

        def called(*_: object) -> Prediction:
            raise AssertionError("the engine was called with input that must be refused")

        potential.predict_checked = called  # type: ignore[method-assign, assignment]
        for name, batch, wanted in _bad_batches(potential, atoms):
            try:
                potential.predict(batch)
            except wanted:
                continue
            except MlffError as error:
                raise AssertionError(f"{name}: wanted {wanted.__name__}, got {type(error).__name__}") from error
            raise AssertionError(f"{name} was accepted")

    def test_overlapping_atoms_are_refused(self) -> None:
        """Two atoms at nearly the same place give one clear error, not an energy."""
        atoms = self._known(self.molecule())
        atoms.positions[1] = atoms.positions[0] + [0.05, 0.0, 0.0]
        try:
            self._labels(atoms)
        except InputError:
            return
        raise AssertionError("atoms 0.05 Å apart were labelled")

    # Shared by the tests above

    def _teacher(self) -> Teacher:
        return plugins.teacher(self.teacher) if isinstance(self.teacher, str) else self.teacher

    def _potential(self) -> Potential:
        cls = type(self)
        if "_loaded" not in vars(cls):
            cls._loaded = self._teacher().load(self.options)  # type: ignore[attr-defined]
        loaded: Potential = cls._loaded  # type: ignore[attr-defined]
        return loaded

    def _labels(self, atoms: Atoms) -> Prediction:
        return self._potential().predict(to_batch(atoms))

    def _known(self, atoms: Atoms) -> Atoms:
        card = self._potential().card
        if not set(atoms.numbers.tolist()) <= set(card.elements):
            raise SkipTest(
                f"{atoms.get_chemical_formula()} has elements unknown to the teacher: override the structure"
            )
        return atoms

    def _structures(self) -> list[Atoms]:
        """Return the molecule and, if the teacher gives stresses, the crystal."""
        frames = [self._known(self.molecule())]
        return [*frames, self._known(self.crystal())] if "stress" in self._potential().supports else frames

    def _is_conservative(self) -> bool:
        return bool(self._potential().card.teacher["settings"].get("conservative", True))

    def _knows_mirrors(self) -> bool:
        """Return False if the card states that a structure and its mirror image differ."""
        return bool(self._potential().card.teacher["settings"].get("mirror_symmetric", True))

    def _needs_gradient_forces(self) -> None:
        if not self._is_conservative():
            raise SkipTest("the card states that the forces are not the gradient of the energy")

    def _compare(self, found: Prediction, wanted: Prediction, batch: AtomicBatch, what: str) -> None:
        assert_prediction_close(found, wanted, batch, self.invariance, what)

    def _same_labels(self, found: Prediction, wanted: Prediction, batch: AtomicBatch, what: str) -> None:
        if found.forces is None or wanted.forces is None:
            raise AssertionError("forces were requested, None was returned")
        compared = {difference.quantity: difference for difference in differences(found, wanted, batch)}
        energy, forces = abs(compared["energy"].found - compared["energy"].wanted), compared["forces"].largest
        if not (energy <= self.reproducible and forces <= self.reproducible):
            raise AssertionError(
                f"labels made {what} differ by {energy:.1e} eV and {forces:.1e} eV/Å; "
                f"at most {self.reproducible:.0e} is allowed"
            )


_WORKER = """
import json, pickle, sys
from mlff_core.structures.batch import single
from mlff_core.testing import isolation
load, arrays = pickle.load(sys.stdin.buffer)
with isolation.recorded_output() as written, isolation.recorded_changes() as changed:
    found = load().predict(single(**arrays))
isolation.assert_nothing_printed(written, "the teacher")
isolation.assert_nothing_changed(changed, "the teacher")
print(json.dumps([found.energy.tolist(), found.forces.tolist()]))
"""


def _arrays(batch: AtomicBatch) -> dict[str, Any]:
    """Return one structure as picklable arguments of :func:`~mlff_core.structures.batch.single`."""
    return {
        "positions": batch.positions.tolist(),
        "atomic_numbers": batch.atomic_numbers.tolist(),
        "cell": batch.cell[0].tolist(),
        "pbc": batch.pbc[0].tolist(),
        "dtype": batch.dtype,
    }


def _moved(atoms: Atoms) -> Atoms:
    """Return the structure with each atom moved a little."""
    moved = atoms.copy()
    moved.positions += np.random.RandomState(9).normal(scale=0.03, size=atoms.positions.shape)
    return moved


def _bad_batches(potential: Potential, atoms: Atoms) -> list[tuple[str, AtomicBatch, type[MlffError]]]:
    """Return batches that must be refused: a description, the batch, and the expected error."""
    good = to_batch(atoms)
    bad: list[tuple[str, AtomicBatch, type[MlffError]]] = []
    for value in (float("nan"), float("inf")):
        positions = good.positions.clone()
        positions[-1, 2] = value
        bad.append((f"a position of {value}", good.with_positions(positions), InputError))
    nothing = good.positions[:0], good.atomic_numbers[:0], good.system_idx[:0]
    bad.append(
        ("a structure without atoms", AtomicBatch(nothing[0], nothing[1], good.cell, good.pbc, nothing[2]), InputError)
    )
    card = potential.card
    unknown = [z for z in range(1, 119) if z not in card.elements]
    if unknown:
        other = atoms.copy()
        other.numbers[0] = unknown[0]
        bad.append(("an unknown element", concatenate([good, to_batch(other)]), UnsupportedError))
    for key, value, allowed in (
        ("charge", 1.0, card.charges),
        ("spin_multiplicity", 3, card.spin_multiplicities),
    ):
        if allowed != "any":
            other = atoms.copy()
            other.info[key] = value
            bad.append((f"a {key} of {value}", to_batch(other), UnsupportedError))
    return bad
