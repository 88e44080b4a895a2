"""A full disk, a limit, or an ASCII terminal gives one line of ``mlff``, and no unfinished file."""

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import click
import h5py
import pytest
from ase.io import write
from click.testing import CliRunner

from mlff_core.cli.failures import line_of
from mlff_core.cli.main import LazyGroup, build
from mlff_core.cli.options import Number, Whole
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import small_student
from mlff_core.testing.structures import ethanol

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(name="folder")
def fixture_folder(tmp_path, monkeypatch):
    student = small_student()
    save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    write(tmp_path / "two.extxyz", [ethanol(), ethanol()])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFF_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path


@contextmanager
def no_file_above(n_bytes):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def failing(error):
    """Return the outcome of a command that raises ``error``."""

    @click.group(cls=LazyGroup)
    def group():
        pass

    @group.command()
    def fails():
        raise error

    return CliRunner().invoke(group, ["fails"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "log.csv"), "log.csv: No space left on device; free"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "n" * 300), "give a shorter name"),
        (OSError("Can't write (error message = 'No space left on device')"), "No space left on device; free"),
        (MemoryError("Unable to allocate 7 TiB"), "not enough memory (Unable to allocate 7 TiB)"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (UnicodeEncodeError("ascii", "eV/Å", 3, 4, "ordinal not in range"), r"'\xc5' cannot be written as ascii"),
    ],
)
def test_an_error_of_the_machine_is_one_line(error, message):
    result = failing(error)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), RuntimeError("shapes differ"), TypeError("x")])
def test_a_bug_keeps_its_traceback(error):
    assert failing(error).exception is error
    assert line_of(error) is None


def test_an_error_of_hdf5_is_recognised_by_its_origin(tmp_path):
    with h5py.File(tmp_path / "closed.h5", "w") as file, pytest.raises(KeyError) as error:
        file["nothing"]
    assert line_of(error.value).startswith("an HDF5 file cannot be read or written")


@pytest.mark.parametrize(
    "call",
    [
        "predict model.pt two.extxyz -o new.extxyz",
        "relax model.pt two.extxyz -o new.traj --max-steps 1",
        "data convert two.extxyz new.h5",
        "data label two.extxyz new.h5 --teacher model.pt",
        "committee model.pt model2.pt -o new.toml",
        "models add model.pt --name new",
        "lammps write-model model.pt new.pt",
        "md model.pt two.extxyz -o new --ensemble nve --steps 2 --temperature-kelvin 300",
    ],
)
@pytest.mark.parametrize("limit", [0, 60])
def test_a_file_that_cannot_grow_is_one_line_and_leaves_nothing(folder, call, limit):
    student = small_student(seed=1)
    save_checkpoint(folder / "model2.pt", student.model, student.card)
    before = {path for path in folder.rglob("*") if path.is_file()}
    with no_file_above(limit):
        result = CliRunner().invoke(build(), call.split())
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "File too large; raise the limit of file sizes (ulimit -f)" in result.stderr
    assert {path for path in folder.rglob("*") if path.is_file()} == before


def mlff(arguments, **how):
    command = [sys.executable, "-m", "mlff_core.cli", *arguments]
    return subprocess.run(command, text=True, stderr=subprocess.PIPE, timeout=120, check=False, **how)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_the_output_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = mlff(["--version"], stdout=full, env=ENVIRONMENT)
    assert done.returncode == 1
    assert done.stderr == "Error: No space left on device; free some space, or choose another place\n"


def test_an_ascii_terminal_shows_other_characters_as_escapes():
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    done = mlff(["teachers", "list"], stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0, done.stderr
    assert r"H\u2013Rn" in done.stdout


def commands(group, path=()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_option_that_takes_a_number_has_a_range():
    bare = [
        f"{name} {option.opts[0]}"
        for name, command in commands(build())
        for option in command.params
        if type(option.type) in (type(click.INT), type(click.FLOAT), click.FloatRange)
    ]
    assert bare == []


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e400"])
@pytest.mark.parametrize(
    "call",
    [
        "md model.pt two.extxyz -o new --temperature-kelvin 300 --time-ps",
        "md model.pt two.extxyz -o new --temperature-kelvin 300 --steps 2 --timestep-fs",
        "md model.pt two.extxyz -o new --steps 2 --temperature-kelvin",
        "md model.pt two.extxyz -o new --steps 2 --temperature-kelvin 300 --max-uncertainty",
        "relax model.pt two.extxyz --fmax",
        "data filter set.h5 new.h5 --max-force",
        "data split set.h5 --validation",
        "serve-ipi model.pt --wait-s",
        "serve-ipi model.pt --idle-s",
    ],
)
def test_a_number_that_is_none_is_refused_with_the_option(folder, call, value):
    result = CliRunner().invoke(build(), [*call.split(), value])
    assert result.exit_code == 1, result.output
    option = call.split()[-1]
    assert result.stderr.startswith(f"Error: {option} must be ")
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    "call", ["data generate two.extxyz new.h5 --seed", "data split set.h5 --seed", "md m f -o o --seed"]
)
def test_a_negative_seed_is_refused(call):
    result = CliRunner().invoke(build(), [*call.split(), "-1"])
    assert (result.exit_code, result.stderr[:20]) == (1, "Error: --seed must b")


def test_the_ranges_hold_their_ends():
    assert Number(0, 1).convert("1", None, None) == 1.0
    assert Number(min=0).convert("0", None, None) == 0.0
    assert Whole(1, 3).convert("3", None, None) == 3


@pytest.mark.parametrize("name", ["99999999999x9", "water-99999999999", "9" * 5000, "99999999x9999999999"])
def test_a_system_too_large_to_build_is_refused_before_it_is_built(folder, name):
    result = CliRunner().invoke(build(), ["benchmark", "model.pt", "--systems", name])
    assert result.exit_code == 1
    assert "a system may have 20,000,000 atoms" in result.stderr


def test_a_warning_of_ours_is_one_line(folder):
    near = ethanol()
    near.positions *= 0.62  # bonds much shorter than any that a student was trained on
    write(folder / "near.extxyz", near)
    command = [sys.executable, "-m", "mlff_core.cli", "predict", "organic-ultra-tiny", "near.extxyz"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("Warning: organic-ultra-tiny was not trained on structures like this")
