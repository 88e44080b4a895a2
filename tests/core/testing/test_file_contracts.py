"""Contracts of exporters and runtimes: they pass for TorchScript and fail for planted faults."""

import shutil
from dataclasses import replace
from pathlib import Path

import ase.io
import pytest
import torch

from mlff_core import load
from mlff_core.errors import CheckpointError, InputError, UnsupportedError
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.plugins.exporter import Exporter, ExportReport
from mlff_core.plugins.runtime import Runtime
from mlff_core.potentials.student import StudentPotential
from mlff_core.testing import (
    ExporterContract,
    PairPotential,
    RuntimeContract,
    run_contract,
    small_student,
    structures,
)
from mlff_core.testing.runner import run_test


class Copying(Exporter):
    """Writes the student unchanged, the shortest correct export."""

    name = "copying"
    summary = "The student's own file."
    suffix = ".copy"

    def export(self, potential, path, options=None):
        if options:
            raise InputError(f"copying takes no options, got {', '.join(options)}")
        if not isinstance(potential, StudentPotential):
            raise UnsupportedError("only students are written")
        if path.is_dir() or not path.parent.is_dir():
            raise InputError(f"{path} cannot be written")
        save_checkpoint(path, potential.model, potential.card)
        return ExportReport(path, self.name, path.stat().st_size, 0.0, 0.0, 0.0)


class Opening(Runtime):
    """Opens files of Copying."""

    name = "opening"
    summary = "Opens a student's own file."
    suffixes = (".copy",)

    def open(self, path, *, device="cpu"):
        return load(path, device=device)


class OverwritesInPlace(Copying):
    def export(self, potential, path, options=None):
        if options or path.is_dir() or not isinstance(potential, StudentPotential):
            return super().export(potential, path, options)
        beside = path.with_name(path.name + ".tmp")
        report = super().export(potential, beside, options)
        shutil.copyfile(beside, path)
        beside.unlink()
        return replace(report, path=path)


class LeavesATemporaryFile(Copying):
    def export(self, potential, path, options=None):
        report = super().export(potential, path, options)
        (path.parent / "tmp.0").write_bytes(b"")
        return report


class TakesAnyPotential(Copying):
    def export(self, potential, path, options=None):
        if isinstance(potential, StudentPotential):
            return super().export(potential, path, options)
        path.write_bytes(b"")
        return ExportReport(path, self.name, 0, 0.0, 0.0)


class ForeignErrorForABadPath(Copying):
    def export(self, potential, path, options=None):
        if path.is_dir():
            raise IsADirectoryError(path)
        return super().export(potential, path, options)


class DropsUnknownOptions(Copying):
    def export(self, potential, path, options=None):
        return super().export(potential, path, None)


class ReportsWhatItDidNotMeasure(Copying):
    def export(self, potential, path, options=None):
        return replace(super().export(potential, path, options), delta_forces=float("nan"))


class ReportsAnotherSize(Copying):
    def export(self, potential, path, options=None):
        return replace(super().export(potential, path, options), size_bytes=1)


class ConvertsTheCallersModel(Copying):
    def export(self, potential, path, options=None):
        report = super().export(potential, path, options)
        potential.model.requires_grad_(True)
        return report


class DrawsRandomNumbers(Copying):
    def export(self, potential, path, options=None):
        torch.rand(1)
        return super().export(potential, path, options)


class Talks(Copying):
    def export(self, potential, path, options=None):
        print("exported")  # noqa: T201
        return super().export(potential, path, options)


class ForeignErrorForADamagedFile(Opening):
    def open(self, path, *, device="cpu"):
        try:
            return super().open(path, device=device)
        except CheckpointError as error:
            raise RuntimeError(str(error)) from error


class OpensAnything(Opening):
    def open(self, path, *, device="cpu"):
        try:
            return super().open(path, device=device)
        except CheckpointError:
            return small_student()


class OtherWeights(Opening):
    def open(self, path, *, device="cpu"):
        return replaced_model(super().open(path, device=device), seed=1)


class OneSizeOnly(Opening):
    """Like a traced graph with the fixed number of atoms of its example."""

    def open(self, path, *, device="cpu"):
        opened = super().open(path, device=device)
        plain = opened.predict_checked

        def fixed(batch, want, edges):
            if batch.n_atoms != 9:
                raise RuntimeError("shape mismatch: 9 atoms were traced")
            return plain(batch, want, edges)

        opened.predict_checked = fixed
        return opened


class ForgetsTheElements(Opening):
    def open(self, path, *, device="cpu"):
        opened = super().open(path, device=device)
        opened.card = replace(opened.card, elements=tuple(range(1, 119)))
        return opened


class IgnoresTheDevice(Opening):
    def open(self, path, *, device="cpu"):
        return super().open(path)


def replaced_model(potential, seed):
    other = small_student(seed=seed)
    return StudentPotential(other.model, potential.card)


def exporter_contract(exporter):
    return type("Contract", (ExporterContract,), {"exporter": exporter()})


def runtime_contract(runtime):
    return type("Contract", (RuntimeContract,), {"runtime": runtime(), "exporter": Copying()})


def test_an_honest_exporter_and_runtime_pass_everything():
    results = run_contract(exporter_contract(Copying)) + run_contract(runtime_contract(Opening))
    failed = [result for result in results if result.status == "failed"]
    assert not failed, failed


@pytest.mark.parametrize(
    ("exporter", "name"),
    [
        (OverwritesInPlace, "the_file_is_written_by_rename"),
        (LeavesATemporaryFile, "nothing_else_is_left_in_the_folder"),
        (TakesAnyPotential, "an_unsupported_potential_is_refused_and_nothing_is_written"),
        (ForeignErrorForABadPath, "a_bad_path_is_refused"),
        (DropsUnknownOptions, "an_unknown_option_is_refused"),
        (ReportsWhatItDidNotMeasure, "the_file_read_back_agrees_with_the_model"),
        (ReportsAnotherSize, "the_report_describes_the_file"),
        (ConvertsTheCallersModel, "the_model_is_as_before"),
        (DrawsRandomNumbers, "process_settings_are_unchanged"),
        (Talks, "nothing_is_printed"),
    ],
)
def test_a_wrong_exporter_fails(exporter, name):
    assert run_test(exporter_contract(exporter), f"test_{name}").status == "failed"


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        (ForeignErrorForADamagedFile, "a_damaged_file_is_a_checkpoint_error"),
        (OpensAnything, "a_damaged_file_is_a_checkpoint_error"),
        (OtherWeights, "every_structure_agrees_with_the_model"),
        (OneSizeOnly, "every_structure_agrees_with_the_model"),
        (ForgetsTheElements, "the_card_travels_in_the_file"),
        (ForgetsTheElements, "bad_structures_are_refused_with_the_models_message"),
        (IgnoresTheDevice, "an_unknown_device_is_refused"),
    ],
)
def test_a_wrong_runtime_fails(runtime, name):
    assert run_test(runtime_contract(runtime), f"test_{name}").status == "failed"


def test_a_runtime_finds_the_exporter_of_its_suffix():
    from mlff_core.plugins import host as plugins

    contract = type("Contract", (RuntimeContract,), {"runtime": plugins.runtime("torchscript")})
    assert run_test(contract, "test_every_structure_agrees_with_the_model").status == "ok"
    assert (
        run_test(
            type(
                "Contract",
                (ExporterContract,),
                {"exporter": plugins.exporter("torchscript"), "unsupported": PairPotential},
            ),
            "test_process_settings_are_unchanged",
        ).status
        == "ok"
    )


def test_an_exporter_for_one_list_of_atoms_is_given_one():
    class ForOneStructure(Copying):
        needs_structure = True

        def export(self, potential, path, options=None):
            options = dict(options or {})
            if len(ase.io.read(options.pop("structure"))) < 2:
                raise InputError("a structure is needed")
            return super().export(potential, path, options)

    failed = [result for result in run_contract(exporter_contract(ForOneStructure)) if result.status == "failed"]
    assert not failed, failed


def test_a_runtime_without_an_exporter_is_skipped():
    class Lonely(Opening):
        suffixes = (".suffix-that-nobody-writes",)

    contract = type("Contract", (RuntimeContract,), {"runtime": Lonely()})
    assert run_test(contract, "test_every_structure_agrees_with_the_model").status == "skipped"


def test_opening_a_model_file_draws_no_random_numbers(tmp_path):
    student = small_student()
    path = save_checkpoint(Path(tmp_path) / "model.pt", student.model, student.card)
    before = torch.get_rng_state()
    model, _ = load_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), before)
    batch = structures.to_batch(structures.ethanol())
    again = StudentPotential(model, student.card).predict(batch)
    assert torch.equal(again.forces, student.predict(batch).forces)
