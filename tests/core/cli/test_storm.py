"""Five hundred calls of ``mlff`` with bad input for each seed: each ends with 0, 1 or 2 and a line, not a traceback.

Over 300 lines, in one file because the bad inputs are one list.
"""

import itertools
import json
import os
import random
import resource
import shlex
import signal
import warnings
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import pytest
from ase.io import write
from click.testing import CliRunner

from mlff_core.cli.main import build
from mlff_core.data.hdf5 import LabelledStructure, write_dataset
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import small_student
from mlff_core.testing.structures import ethanol, triclinic_crystal

N_CALLS = 500
SECONDS_A_CALL = 40
MEMORY = 6 * 2**30  # in addition to the memory of the process at the start

CALLS = {
    "predict": "predict model.pt one.xyz",
    "relax": "relax model.pt one.xyz --max-steps 2",
    "md": "md model.pt one.xyz -o {new} --ensemble nve --steps 2 --temperature-kelvin 300",
    "train": "train train.toml --out {new}",
    "validate": "validate model.pt set.h5",
    "compare": "compare model.pt model.pt --data set.h5",
    "committee": "committee model.pt other.pt -o {new}.toml --calibrate set.h5",
    "export": "export model.pt --format torchscript -o {new}.ts",
    "models show": "models show model.pt",
    "models verify": "models verify model.pt",
    "models add": "models add model.pt --name {new}",
    "models remove": "models remove {new}",
    "parity": "parity model.pt --engine nosuch",
    "plugins check": "plugins check nosuch",
    "benchmark": "benchmark model.pt --systems ethanol-9 --repeats 1",
    "serve-ipi": "serve-ipi model.pt --template one.xyz --unix {new} --wait-s 0.1",
    "lammps run": "lammps run model.pt in.lmp --log none",
    "lammps write-model": "lammps write-model model.pt {new}.pt",
    "qcengine": "qcengine run mlff input.json",
    "distill active": "distill active active.toml --set train={new}.toml",
    "data info": "data info set.h5",
    "data validate": "data validate set.h5",
    "data convert": "data convert set.h5 {new}.extxyz",
    "data filter": "data filter set.h5 {new}.h5 --max-force 5",
    "data split": "data split set.h5 -o {new}.h5",
    "data merge": "data merge set.h5 second.h5 -o {new}.h5",
    "data label": "data label one.xyz {new}.h5 --teacher model.pt",
    "data generate": "data generate two.extxyz {new}.h5 --config generate.toml --teacher model.pt",
}
"""A good call of each command that takes input; the rest (demo, lists, doctor) take none or only what these take."""

NUMBERS = ["nan", "inf", "-inf", "-1", "0", "1e300", "1e-300", "99999999999999999999", "100000000000", "1.5", "", "x"]
NO_LIMIT = ("--steps", "--wait-s", "--time-ps", "--max-steps", "stop.max_steps", "--systems", "--repeats")
"""Options that may take years: they get only small or invalid numbers."""
LONG = ("--physics",)
"""Flags that take minutes with good input."""
LARGE = ("1e300", "99999999999999999999", "100000000000")

TEXTS = ["", " ", "x" * 300, "../..", "é", "\udcff", "a\nb", "[", "=", "=1", "a=b=c", "1e999=nan"]
TEXTS += ["99999999999x9"]
SETTINGS = {
    "train": [
        "seed",
        "data.path",
        "data.validation_fraction",
        "data.split_seed",
        "data.max_structures",
        "data.replay_weight",
        "model.hidden",
        "model.n_layers",
        "model.n_radial",
        "model.cutoff",
        "model.core",
        "batch.atoms",
        "batch.edges",
        "loss.energy_weight",
        "loss.forces_delta",
        "loss.forces_weight",
        "loss.stress_weight",
        "loss.hessian_weight",
        "optimizer.lr",
        "optimizer.weight_decay",
        "optimizer.betas",
        "optimizer.clip",
        "optimizer.block",
        "optimizer.precondition_every",
        "stop.max_minutes",
        "stop.patience",
        "log.every_steps",
        "log.save_every_minutes",
        "schedule.warmup_steps",
        "schedule.final_factor",
        "device",
        "model.elements",
        "model.init_from",
        "nothing",
    ],
    "distill active": [
        "seed",
        "members",
        "rounds",
        "frames",
        "threshold",
        "sampling.time_ps",
        "sampling.ceiling",
        "test",
        "train",
        "out",
    ],
    "data label": ["batch_atoms", "max_force", "hessian_rows", "max_failed_share"],
    "data generate": [
        "seed",
        "conformers",
        "batch_molecules",
        "max_atoms",
        "clash",
        "max_force",
        "kinds.rattle.n",
        "kinds.rattle.sigma_max",
        "kinds.strain.n",
        "kinds.strain.sigma",
        "kinds.stretch.n",
        "kinds.collision.n",
        "batch_atoms",
        "hessian_rows",
        "max_failed_share",
        "solvents",
        "kinds",
    ],
}
TOML = ['"x"', "[]", "[1, 2]", "{}", "{a = 1}", "true", '"\\u0000"', "1979-05-27", "-1", "0", "nan", "inf", "1e300"]
TOML += ["99999999999999999999", "100000000000", "1e-300", "[" * 500 + "]" * 500]


@pytest.fixture(name="folder")
def fixture_folder(tmp_path, monkeypatch):
    """A folder with one good input of each kind and many bad ones, as the current folder."""
    for name, seed in (("model.pt", 0), ("other.pt", 1)):
        student = small_student(seed=seed)
        student.model.scale.fill_(0.02)
        save_checkpoint(tmp_path / name, student.model, student.card)
    moved = ethanol()
    moved.positions += 0.03
    write(tmp_path / "one.xyz", ethanol())
    write(tmp_path / "two.extxyz", [ethanol(), moved])
    write(tmp_path / "crystal.extxyz", [triclinic_crystal()])
    write(tmp_path / "crystal.cif", triclinic_crystal())
    generator = np.random.default_rng(0)
    for name in ("set.h5", "second.h5"):
        structures = [
            LabelledStructure(
                atomic_numbers=ethanol().numbers,
                positions=(ethanol().positions + generator.normal(0, 0.03, (9, 3))).astype(np.float32),
                energy=float(generator.normal()),
                forces=generator.normal(size=(9, 3)).astype(np.float32),
                molecule_id=k // 4,
                split=("train", "validation", "test")[k // 4],
            )
            for k in range(12)
        ]
        write_dataset(tmp_path / name, structures, teacher={"name": "none"})
    (tmp_path / "train.toml").write_text(
        'device = "cpu"\n[model]\npreset = "ultra-tiny"\nhidden = 4\n[data]\npath = "set.h5"\n[stop]\nmax_steps = 2\n'
    )
    (tmp_path / "active.toml").write_text('train = "train.toml"\nteacher = "none"\ntest = "set.h5"\nrounds = 1\n')
    off = ["minimum", "md", "dimer", "cluster", "torsion", "descent", "normal_mode"]
    (tmp_path / "generate.toml").write_text("[kinds]\n" + "".join(f"{kind}.enabled = false\n" for kind in off))
    (tmp_path / "committee.toml").write_text('members = ["model.pt", "other.pt"]\n')
    (tmp_path / "molecules.smi").write_text("CCO\nCCN\n")
    (tmp_path / "in.lmp").write_text("units metal\npair_style mlff\npair_coeff * *\n")
    molecule = {"symbols": ["H", "H"], "geometry": [0, 0, 0, 0, 0, 1.5]}
    task = {"molecule": molecule, "driver": "energy", "model": {"method": "model.pt"}}
    (tmp_path / "input.json").write_text(json.dumps(task))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFF_MODELS_DIR", str(tmp_path / "models"))
    _write_bad_files(tmp_path, random.Random(1))
    return tmp_path


def _write_bad_files(folder, rng):
    good = sorted(path for path in folder.iterdir() if path.is_file())
    bad = folder / "bad"
    bad.mkdir()
    for path in good:
        content = path.read_bytes()
        for k in range(4):
            flipped = bytearray(content)
            for _ in range(1 + 3 * k):
                flipped[rng.randrange(len(flipped))] = rng.randrange(256)
            (bad / f"flipped{k}{path.name}").write_bytes(flipped)
        (bad / f"cut{path.name}").write_bytes(content[: rng.randrange(len(content))])
        (bad / f"twice{path.name}").write_bytes(content * 2)
    for ending in (".pt", ".ts", ".onnx", ".xyz", ".extxyz", ".cif", ".sdf", ".pdb", ".smi", ".csv", ".h5", ".toml"):
        (bad / f"empty{ending}").touch()
        (bad / f"zeros{ending}").write_bytes(bytes(2000))
        (bad / f"noise{ending}").write_bytes(rng.randbytes(2000))
        (bad / f"nested{ending}").write_bytes(b"x = " + b"[" * 20000)
        (bad / f"text{ending}").write_text("9\nno comment\nC 0 0\n" * 3)
        (bad / f"folder{ending}").mkdir()
        (bad / f"circle{ending}").symlink_to(f"circle{ending}")
    (bad / "atoms.extxyz").write_text("99999999999\n\nH 0 0 0\n")
    (bad / "nan.xyz").write_text("1\n\nH nan 0 0\n")
    (bad / "far.xyz").write_text("2\n\nH 0 0 0\nH 1e30 0 0\n")
    (bad / "element.xyz").write_text("1\n\nXx 0 0 0\n")
    (bad / "counts.sdf").write_text("\n\n\n999999  0  0  0\nM  END\n$$$$\n")
    (bad / "long.smi").write_text("C" * 100_000 + "\n")
    (bad / "nul.toml").write_text('out = "a\\u0000b"\n[data]\npath = "a\\u0000b"\n')
    (bad / "shape.toml").write_text("data = 3\nstop = [1]\nmembers = {}\n")
    (bad / "types.toml").write_text('members = [1, 2]\n[data]\npath = ["set.h5"]\n[kinds]\nrattle = 3\n')


def commands(group, path=()):
    """Yield each command of the group with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"distill active", "plugins check", "lammps run"}))
def test_the_unchanged_calls_are_valid(name, folder):
    arguments = shlex.split(CALLS[name].format(new="new"))
    if name == "models remove":
        CliRunner().invoke(build(), ["models", "add", "model.pt", "--name", "new"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # QCEngine leaves its input open
        result = CliRunner().invoke(build(), arguments)
    # Without i-PI, and without an engine of that name, these two can only end with their error.
    wanted = 1 if name in ("serve-ipi", "parity") else 0
    assert result.exit_code == wanted, result.output


def calls(rng, folder):
    """Yield argument lists: good calls with one to three of their inputs replaced by bad ones."""
    known = dict(commands(build()))
    files = [os.path.relpath(path, folder) for path in sorted((folder / "bad").iterdir())]
    files += ["/", ".", "nosuch.xyz", "nosuch.toml", "/dev/null", "/dev/full", "/dev/full/x.h5", "/proc/self/x.h5"]
    files += ["n" * 300, f"{'n' * 300}.h5", f"{'n' * 300}/x.pt", "a\nb.xyz", "\udcff.xyz", "model.pt/x.h5", *TEXTS]
    counter = itertools.count()
    while True:
        for name, call in CALLS.items():
            arguments = shlex.split(call.format(new=f"new{next(counter)}"))
            start = len(name.split())
            for _ in range(rng.choice([1, 1, 2, 3])):
                way = rng.random()
                options = [one for one in known[name].params if isinstance(one, click.Option)]
                options = [one for one in options if one.opts and one.opts[0] not in LONG]
                if way < 0.4 and len(arguments) > start:
                    position = rng.randrange(start, len(arguments))
                    if not arguments[position].startswith("-"):
                        kind = Path(arguments[position]).suffix
                        alike = [file for file in files if kind and file.endswith(kind)]
                        arguments[position] = rng.choice(alike if alike and rng.random() < 0.8 else files)
                elif way < 0.75 and name in SETTINGS:
                    arguments += ["--set", f"{rng.choice(SETTINGS[name])}={rng.choice(TOML)}"]
                elif options:
                    arguments += _option(rng.choice(options), rng, files)
            yield arguments


def _option(option, rng, files):
    name = rng.choice(option.opts)
    if getattr(option, "is_flag", False):
        return [name]
    if isinstance(option.type, click.Path):
        return [name, rng.choice(files)]
    if isinstance(option.type, (type(click.INT), type(click.FLOAT))):
        return [name, rng.choice([text for text in NUMBERS if name not in NO_LIMIT or text not in LARGE])]
    return [name, *(rng.choice([*TEXTS, *NUMBERS]) for _ in range(option.nargs))]


class TooLongError(BaseException):
    """A call that hangs; not an Exception, so that no command handles it."""


@contextmanager
def limits():
    """Stop calls that take too long, and limit their memory."""

    def give_up(*_):
        raise TooLongError

    old = signal.signal(signal.SIGALRM, give_up)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, before)


def problem(arguments, folder):
    """Run one call, and return the problem with how it ended, or None."""
    before = set(folder.rglob("*"))
    signal.alarm(SECONDS_A_CALL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = CliRunner().invoke(build(), arguments)
    except TooLongError:
        return f"takes more than {SECONDS_A_CALL} s"
    finally:
        signal.alarm(0)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"{type(result.exception).__name__}: {result.exception}"
    if result.exit_code not in (0, 1, 2):
        return f"exits with {result.exit_code}"
    # QCEngine's own tracebacks are part of its JSON.
    if "Traceback (most recent" in (result.stderr if arguments[0] == "qcengine" else result.output):
        return "prints a traceback"
    prints_its_own_errors = arguments[0] in ("parity", "qcengine") or arguments[:2] in (
        ["models", "verify"],
        ["plugins", "check"],
    )
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    if result.exit_code == 1 and len(errors) != 1 and not prints_its_own_errors:
        return f"has {len(errors)} lines of an error: {result.stderr!r}"
    unfinished = [path for path in set(folder.rglob("*")) - before if ".part." in path.name or path.name == "out.tmp"]
    if unfinished:
        return f"leaves {unfinished}"
    return None


# QCEngine's command line leaves its input file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit of memory is Linux's")
def test_no_call_ends_with_a_traceback(folder, seed):
    found = {}
    with limits():
        for arguments in itertools.islice(calls(random.Random(seed), folder), N_CALLS):
            wrong = problem(arguments, folder)
            if wrong is not None:
                found[shlex.join(arguments)[:300]] = wrong[:400]
    assert not found, "\n".join(f"mlff {call}\n    {wrong}" for call, wrong in found.items())
