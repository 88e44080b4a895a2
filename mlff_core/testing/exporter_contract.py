"""The contract that every exporter passes, shipped so that plugins of other packages run it too.

from mlff_core.testing import ExporterContract

class TestMyExporter(ExporterContract):
    exporter = MyExporter()
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import ase.io

from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.plugins.engine import Tolerance
from mlff_core.plugins.exporter import Exporter, ExportReport
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.student import StudentPotential
from mlff_core.testing import isolation, provider_checks, structures
from mlff_core.testing.reference_potential import PairPotential, small_student
from mlff_core.testing.tolerances import assert_prediction_close

OLD_CONTENT = b"what was there before"


@dataclass
class _Export:
    """One export, and the settings and output recorded while it ran."""

    path: Path
    report: ExportReport
    changed: list[str]
    written: list[str]
    student: StudentPotential


@functools.cache
def _crystal_file() -> str:
    """Return a file with a crystal that is kept until the process ends."""
    path = isolation.kept_folder() / "crystal.extxyz"
    ase.io.write(path, structures.triclinic_crystal())
    return str(path)


class ExporterContract:
    """Tests of an exporter; subclass it and set ``exporter``.

    Attributes
    ----------
    exporter
        The exporter under test.
    options
        Passed to ``export``; if the exporter needs a structure and none is given, a file with a crystal is added.
    tolerance
        Largest differences allowed in the report: eV/atom, eV/Å, eV/Å³.
    unsupported
        Returns a potential that this exporter cannot write; None if it can write every potential.
    module, forbidden_modules
        The plugin's module, and the modules that importing it must not import; taken from the exporter by default.
    """

    exporter: ClassVar[Exporter]
    options: ClassVar[Mapping[str, Any]] = {}
    tolerance: ClassVar[Tolerance] = Tolerance(energy=2e-5, forces=2e-3, stress=1e-5)
    unsupported: ClassVar[Callable[[], Potential] | None] = PairPotential
    module: ClassVar[str | None] = None
    forbidden_modules: ClassVar[tuple[str, ...] | None] = None

    def test_describes_itself(self) -> None:
        """Name, summary, suffix and install command are given."""
        exporter = self.exporter
        if not exporter.suffix.startswith("."):
            raise AssertionError(f"suffix must begin with a dot, got {exporter.suffix!r}")
        provider_checks.check_says_what_it_is(exporter, "an exporter")

    def test_the_report_describes_the_file(self) -> None:
        """Path, format and size in the report are correct."""
        export = self._export()
        report = export.report
        if Path(report.path) != export.path or not export.path.exists():
            raise AssertionError(f"the report says {report.path}, wanted a file at {export.path}")
        if report.format != self.exporter.name:
            raise AssertionError(f"the report says format {report.format!r}, the exporter is {self.exporter.name!r}")
        if export.path.is_file() and report.size_bytes != export.path.stat().st_size:
            raise AssertionError(f"the report says {report.size_bytes} bytes, there are {export.path.stat().st_size}")

    def test_the_file_read_back_agrees_with_the_model(self) -> None:
        """The differences in the report were measured, and are within tolerance."""
        report = self._export().report
        for name, found, allowed in (
            ("delta_energy", report.delta_energy, self.tolerance.energy),
            ("delta_forces", report.delta_forces, self.tolerance.forces),
            ("delta_stress", report.delta_stress, self.tolerance.stress),
        ):
            if found is not None and not 0 <= found <= allowed:
                raise AssertionError(f"{name} is {found}, at most {allowed:.1e} is allowed")

    def test_the_file_is_written_by_rename(self) -> None:
        """An existing file is replaced, not overwritten: a hard link to it keeps the old content."""
        export = self._export()
        other_name = export.path.parent / "other-name"
        if other_name.read_bytes() != OLD_CONTENT:
            raise AssertionError("the old file was overwritten in place; write beside it and rename")
        if export.path.is_file() and export.path.read_bytes() == OLD_CONTENT:
            raise AssertionError("the old file is still there; the export must replace it")

    def test_nothing_else_is_left_in_the_folder(self) -> None:
        """Temporary files are removed; files that belong to the export begin with its name."""
        export = self._export()
        strangers = [
            file.name
            for file in export.path.parent.iterdir()
            if not file.name.startswith(export.path.stem) and file.name != "other-name"
        ]
        if strangers:
            raise AssertionError(f"left in the folder: {', '.join(strangers)}")

    def test_the_model_is_as_before(self) -> None:
        """Exporting does not move, convert or train the caller's model."""
        batch = structures.to_batch(structures.ethanol())
        exported, fresh = self._export().student, small_student()
        assert_prediction_close(
            exported.predict(batch), fresh.predict(batch), batch, Tolerance(0.0, 0.0, 0.0), "after the export"
        )
        for (name, parameter), original in zip(
            exported.model.named_parameters(), fresh.model.parameters(), strict=True
        ):
            if parameter.requires_grad != original.requires_grad or parameter.dtype != original.dtype:
                raise AssertionError(f"the export changed requires_grad or dtype of {name}")

    def test_process_settings_are_unchanged(self) -> None:
        """Default dtype, grad mode, random states and number of threads are those of the caller."""
        isolation.assert_nothing_changed(self._export().changed, f"exporter {self.exporter.name}")

    def test_nothing_is_printed(self) -> None:
        """Exporting writes nothing to standard output or error."""
        isolation.assert_nothing_printed(self._export().written, f"exporter {self.exporter.name}")

    def test_an_unsupported_potential_is_refused_and_nothing_is_written(self) -> None:
        """A potential without a network is refused, and no file appears."""
        maker = type(self).unsupported
        if maker is None:
            raise SkipTest("every potential can be written")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{self.exporter.suffix}"
            path.write_bytes(OLD_CONTENT)
            self._raises(UnsupportedError, maker(), path, self._options())
            if path.read_bytes() != OLD_CONTENT or len(list(Path(folder).iterdir())) != 1:
                raise AssertionError("the refused export changed the folder")

    def test_a_bad_path_is_refused(self) -> None:
        """The path is a folder, or lies below a file."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_bytes(OLD_CONTENT)
            for path in (Path(folder), file / f"model{self.exporter.suffix}"):
                self._raises(MlffError, small_student(), path, self._options())

    def test_an_unknown_option_is_refused(self) -> None:
        """A misspelt option is not ignored."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{self.exporter.suffix}"
            error = self._raises(InputError, small_student(), path, {**self._options(), "no_such_option": 1})
        if "no_such_option" not in str(error):
            raise AssertionError(f"the message must name the option, got: {error}")

    def test_importing_the_plugin_imports_nothing_optional(self) -> None:
        """Importing the plugin is fast, so that listing plugins is."""
        provider_checks.check_plugin_is_light(self.exporter, self.module, self.forbidden_modules)

    def test_without_its_package_the_hint_is_shown(self) -> None:
        """The plugin still imports, and using it raises an error with the install command."""
        use = f"provider.export(potential, __import__('pathlib').Path('model{self.exporter.suffix}'), {{}})"
        provider_checks.check_hint_without_packages(self.exporter, use)

    @classmethod
    def _options(cls) -> dict[str, Any]:
        return {**({"structure": _crystal_file()} if cls.exporter.needs_structure else {}), **cls.options}

    @classmethod
    def _export(cls) -> _Export:
        """Return the export that most tests share; an export may take minutes, so it is made once."""
        made = cls.__dict__.get("_made")
        if isinstance(made, _Export):
            return made
        path = isolation.kept_folder() / f"model{cls.exporter.suffix}"
        path.write_bytes(OLD_CONTENT)
        (path.parent / "other-name").hardlink_to(path)
        student = small_student()
        with isolation.recorded_output() as written, isolation.recorded_changes() as changed:
            report = cls.exporter.export(student, path, cls._options())
        made = _Export(path, report, changed, written, student)
        cls._made = made  # type: ignore[attr-defined]
        return made

    def _raises(
        self, wanted: type[MlffError], potential: Potential, path: Path, options: Mapping[str, Any]
    ) -> MlffError:
        try:
            self.exporter.export(potential, path, dict(options))
        except wanted as error:
            return error
        except Exception as error:
            raise AssertionError(
                f"wanted {wanted.__name__} for {path.name}, got {type(error).__name__}: {error}"
            ) from error
        raise AssertionError(f"nothing was raised, wanted {wanted.__name__} for {path.name}")
