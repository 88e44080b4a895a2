"""The contract that every runtime passes, shipped so that plugins of other packages run it too.

from mlff_core.testing import RuntimeContract

class TestMyRuntime(RuntimeContract):
    runtime = MyRuntime()
    exporter = MyExporter()
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
from ase import Atoms

from mlff_core.errors import CheckpointError, InputError, MlffError
from mlff_core.plugins import host as plugins
from mlff_core.plugins.engine import Tolerance
from mlff_core.plugins.exporter import Exporter
from mlff_core.plugins.runtime import Runtime
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.testing import isolation, potential_checks, provider_checks, structures
from mlff_core.testing.reference_potential import small_student
from mlff_core.testing.structures import to_batch
from mlff_core.testing.tolerances import assert_prediction_close


class RuntimeContract:
    """Tests of a runtime; subclass it and set ``runtime``.

    Attributes
    ----------
    runtime
        The runtime under test.
    exporter
        Exporter of the files it opens; by default the installed one with one of the runtime's suffixes.
    options
        Options of the exporter.
    tolerance
        Largest deviation of the opened file from the model it was written from.
    module, forbidden_modules
        The plugin's module, and the modules that importing it must not import; taken from the runtime by default.
    """

    runtime: ClassVar[Runtime]
    exporter: ClassVar[Exporter | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    tolerance: ClassVar[Tolerance] = Tolerance()
    module: ClassVar[str | None] = None
    forbidden_modules: ClassVar[tuple[str, ...] | None] = None

    def test_describes_itself(self) -> None:
        """Name, summary, suffixes and install command are given."""
        runtime = self.runtime
        if not runtime.suffixes or not all(suffix.startswith(".") for suffix in runtime.suffixes):
            raise AssertionError(f"suffixes must each begin with a dot, got {runtime.suffixes}")
        provider_checks.check_says_what_it_is(runtime, "a runtime")

    def test_every_structure_agrees_with_the_model(self) -> None:
        """Molecules, crystals, slabs and clusters of different sizes, with one opened file."""
        opened, original = self._opened(), small_student()
        for name, atoms in structures.all_structures().items():
            want = opened.supports - (set() if atoms.pbc.any() else {"stress"})
            batch = to_batch(atoms)
            found, wanted = opened.predict(batch, want=want), original.predict(batch, want=want)
            assert_prediction_close(found, wanted, batch, self.tolerance, name)

    def test_energy_and_forces_are_offered(self) -> None:
        """The file gives forces itself."""
        if not {"energy", "forces"} <= self._opened().supports:
            raise AssertionError(f"wanted energy and forces, the file gives {sorted(self._opened().supports)}")

    def test_a_batch_equals_its_structures_one_by_one(self) -> None:
        """Several structures of several sizes at once."""
        frames = [structures.ethanol(), structures.one_atom(), structures.triclinic_crystal()]
        potential_checks.check_batch_equals_singles(self._opened(), frames)

    def test_forces_are_minus_the_energy_gradient(self) -> None:
        """F = −dE/dx by finite difference."""
        potential_checks.check_forces_are_the_gradient_of_the_energy(self._opened(), structures.ethanol())

    def test_stress_is_the_strain_derivative(self) -> None:
        """Stress by finite difference in a triclinic cell."""
        potential_checks.check_stress_is_the_strain_derivative(self._opened(), structures.triclinic_crystal())

    def test_a_given_neighbour_list_is_accepted(self) -> None:
        """A neighbour list with pairs beyond the cutoff, as from an engine with a Verlet list."""
        potential_checks.check_neighbors_given_or_searched_agree(self._opened(), structures.triclinic_crystal())

    def test_the_card_travels_in_the_file(self) -> None:
        """Name, elements, cutoff and limits in the file are those of the model."""
        found, wanted = self._opened().card, small_student().card
        for field in ("name", "elements", "cutoff", "charges", "units"):
            if getattr(found, field) != getattr(wanted, field):
                raise AssertionError(f"card: {field} is {getattr(found, field)}, wanted {getattr(wanted, field)}")

    def test_bad_structures_are_refused_with_the_models_message(self) -> None:
        """Unknown element, charge, NaN, overlap: the same error class and the same message."""
        opened, original = self._opened(), small_student()
        for batch in self._bad_batches():
            wanted, found = self._error(original, batch), self._error(opened, batch)
            if type(found) is not type(wanted) or str(found) != str(wanted):
                raise AssertionError(f"wanted {type(wanted).__name__}: {wanted}; got {type(found).__name__}: {found}")

    def test_a_damaged_file_is_a_checkpoint_error(self) -> None:
        """Missing, empty, cut short, foreign, and a folder; the message names the path."""
        with tempfile.TemporaryDirectory() as folder:
            suffix = self.runtime.suffixes[0]
            content = self._file().read_bytes() if self._file().is_file() else b"\0" * 4096
            damaged = {
                "missing": None,
                "empty": b"",
                "cut": content[: len(content) // 2],
                "foreign": b"this is a letter, not a model\n" * 40,
            }
            paths = []
            for name, data in damaged.items():
                path = Path(folder) / f"{name}{suffix}"
                if data is not None:
                    path.write_bytes(data)
                paths.append(path)
            (Path(folder) / f"folder{suffix}").mkdir()
            for path in (*paths, Path(folder) / f"folder{suffix}"):
                self._is_refused(path)

    def test_an_unknown_device_is_refused(self) -> None:
        """A device that does not exist is an InputError."""
        try:
            self.runtime.open(self._file(), device="abacus")
        except MlffError:
            return
        except Exception as error:
            raise AssertionError(f"wanted InputError, got {type(error).__name__}: {error}") from error
        raise AssertionError("device 'abacus' was accepted")

    def test_process_settings_are_unchanged(self) -> None:
        """Default dtype, grad mode, random states and number of threads are those of the caller."""
        with isolation.recorded_changes() as changed:
            self.runtime.open(self._file()).predict(to_batch(structures.ethanol()))
        isolation.assert_nothing_changed(changed, f"runtime {self.runtime.name}")

    def test_nothing_is_printed(self) -> None:
        """Neither opening nor predicting writes to standard output or error."""
        with isolation.recorded_output() as written:
            self.runtime.open(self._file()).predict(to_batch(structures.ethanol()))
        isolation.assert_nothing_printed(written, f"runtime {self.runtime.name}")

    def test_importing_the_plugin_imports_nothing_optional(self) -> None:
        """Importing the plugin is fast, so that listing plugins is."""
        provider_checks.check_plugin_is_light(self.runtime, self.module, self.forbidden_modules)

    def test_without_its_package_the_hint_is_shown(self) -> None:
        """The plugin still imports, and using it raises an error with the install command."""
        use = f"provider.open(__import__('pathlib').Path({str(self._file())!r}))"
        provider_checks.check_hint_without_packages(self.runtime, use)

    @classmethod
    def _file(cls) -> Path:
        """Return the file that all tests open; it is written once, since that may take minutes."""
        made = cls.__dict__.get("_made")
        if made is None:
            made = isolation.kept_folder() / f"model{cls.runtime.suffixes[0]}"
            cls._exporter().export(small_student(), made, dict(cls.options))
            cls._made = made  # type: ignore[attr-defined]
        return Path(made)

    @classmethod
    def _exporter(cls) -> Exporter:
        if cls.exporter is not None:
            return cls.exporter
        for exporter in plugins.host().providers("exporter"):
            if isinstance(exporter, Exporter) and exporter.suffix in cls.runtime.suffixes:
                return exporter
        raise SkipTest(f"no installed exporter writes {', '.join(cls.runtime.suffixes)}")

    def _opened(self) -> Potential:
        return self.runtime.open(self._file())

    def _bad_batches(self) -> list[AtomicBatch]:
        bad: list[Atoms] = [structures.ethanol() for _ in range(4)]
        bad[0].numbers[2] = 92
        bad[1].info["charge"] = -1.0
        bad[2].positions[4, 1] = np.nan
        bad[3].positions[5] = bad[3].positions[3] + [0.0, 0.15, 0.2]
        return [to_batch(atoms) for atoms in bad]

    def _is_refused(self, path: Path) -> None:
        try:
            self.runtime.open(path)
        except CheckpointError as error:
            if path.name not in str(error):
                raise AssertionError(f"{path.name}: the message must name the file, got: {error}") from error
            return
        except Exception as error:
            raise AssertionError(f"{path.name}: wanted CheckpointError, got {type(error).__name__}: {error}") from error
        raise AssertionError(f"{path.name}: nothing was raised, wanted CheckpointError")

    def _error(self, potential: Potential, batch: AtomicBatch) -> Exception:
        try:
            potential.predict(batch)
        except Exception as error:
            return error
        return InputError("nothing was raised")
