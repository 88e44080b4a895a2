"""The CPU kernel's library, which is either installed or compiled once into a cache.

This module imports only the standard library, so that the package's build hook can use it before torch is installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlff_core.errors import MissingDependencyError

SOURCES = Path(__file__).parent / "cpu"
INSTALLED = Path(__file__).parent / "lib"
"""Folder into which the package's build hook writes the library."""

FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
)
_AVX512 = ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma")
X86_VARIANTS = {
    "avx512": (64, 32, (*_AVX512, "-mprefer-vector-width=512")),
    "avx512vl": (32, 32, (*_AVX512, "-mprefer-vector-width=256")),
    "avx2": (32, 16, ("-mavx2", "-mfma")),
    "generic": (16, 16, ()),
}
OTHER_VARIANTS = {"generic": (16, 32, ())}
"""Name → bytes of a vector, vector registers, flags. On 64-bit ARM the compiler's default vectors are NEON."""

PRECISIONS = {"f32": "float", "f64": "double"}
TIMEOUT_S = 900

logger = logging.getLogger("mlff_core.kernels")


class BuildError(MissingDependencyError):
    """The CPU kernel cannot be built or loaded here; the message states the reason."""


def is_x86() -> bool:
    """Return whether this is a 64-bit x86 processor."""
    return platform.machine().lower() in ("x86_64", "amd64")


def compile_commands() -> list[tuple[str, ...]]:
    """Return the arguments of each compilation, without compiler and output."""
    variants = X86_VARIANTS if is_x86() else OTHER_VARIANTS
    commands: list[tuple[str, ...]] = []
    for name, (width, registers, flags) in variants.items():
        for suffix, real in PRECISIONS.items():
            defines = (
                f"-DMLFF_NAMESPACE={name}_{suffix}",
                f'-DMLFF_VARIANT="{name}"',
                f"-DMLFF_REAL={real}",
                f"-DMLFF_IS_DOUBLE={int(real == 'double')}",
                f"-DMLFF_VECTOR_BYTES={width}",
                f"-DMLFF_REGISTERS={registers}",
                "-Wno-psabi",  # no vector is passed between the variants
            )
            commands.append((*FLAGS, *flags, *defines, "variant.cpp"))
    target = ("-DMLFF_X86",) if is_x86() else ()
    commands.extend((*FLAGS, *target, source) for source in ("dispatch.cpp", "pool.cpp"))
    return commands


def source_hash() -> str:
    """Return 16 hexadecimal digits that change with any source or flag."""
    digest = hashlib.sha256(repr(compile_commands()).encode())
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".h", ".cpp"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def find_compiler() -> str | None:
    """Return the C++ compiler: ``CXX`` if it is set, otherwise c++, g++ or clang++; None if there is none."""
    wanted = os.environ.get("CXX")
    names = (wanted,) if wanted else ("c++", "g++", "clang++")
    return next((found for name in names if (found := shutil.which(name))), None)


def cache_folder() -> Path:
    """Return ``MLFF_CACHE_DIR`` if it is set, otherwise the platform's folder for caches."""
    if chosen := os.environ.get("MLFF_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mlff-hub"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "mlff-hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlff-hub"


def installed_library() -> Path:
    """Return the path at which the build hook puts a library of exactly these sources; it need not exist."""
    return INSTALLED / f"mlff_cpu-{source_hash()}.so"


def compile_library(target: Path, compiler: str) -> None:
    """Compile the library and rename it to ``target``, so that the file is never incomplete.

    Raises
    ------
    BuildError
        The compiler failed; the message contains its first error.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        commands = compile_commands()
        objects = [f"{folder}/{k}.o" for k in range(len(commands))]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            jobs = [
                pool.submit(run_compiler, [compiler, *command[:-1], "-c", str(SOURCES / command[-1]), "-o", output])
                for command, output in zip(commands, objects, strict=True)
            ]
            for job in jobs:
                job.result()
        finished = Path(folder) / "library.so"
        link = [compiler, "-shared", "-o", str(finished), *objects, "-pthread"]
        try:
            # The process may already have loaded an older libstdc++, such as that of a conda environment.
            run_compiler([*link, "-static-libstdc++", "-static-libgcc"])
        except BuildError:
            run_compiler(link)
        finished.replace(target)


def run_compiler(command: list[str]) -> None:
    """Run a compiler's command line.

    Raises
    ------
    BuildError
        It could not be run, took longer than :data:`TIMEOUT_S`, or failed; the message contains its first error.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"the C++ compiler {command[0]} could not be run: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        complaint = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
        raise BuildError(f"the C++ compiler {command[0]} failed: {complaint}")


def load_library() -> ctypes.CDLL:
    """Return the library, compiled first if this is the first use of these sources.

    Raises
    ------
    BuildError
        There is no compiler, it failed, or the library cannot be loaded. Later calls raise the same error without
        another attempt.
    """
    result = _load_once(cache_folder())
    if isinstance(result, BuildError):
        raise result
    return result


@functools.cache
def _load_once(folder: Path) -> ctypes.CDLL | BuildError:
    installed = installed_library()
    try:
        if installed.exists():
            return ctypes.CDLL(str(installed))
    except OSError as error:
        logger.info("the installed CPU kernel cannot be loaded (%s); it is compiled again", error)
    try:
        return _from_cache(folder)
    except BuildError as error:
        return error
    except OSError as error:
        return BuildError(f"the compiled CPU kernel cannot be used: {error}; set MLFF_CACHE_DIR to another folder")


def _from_cache(folder: Path) -> ctypes.CDLL:
    key, compiler = source_hash(), find_compiler()
    if compiler is None:
        # A library that any compiler made from these sources will do.
        for path in sorted(folder.glob(f"mlff_cpu-{key}-*.so")):
            with contextlib.suppress(OSError):
                return ctypes.CDLL(str(path))
        raise BuildError("no C++ compiler was found (c++, g++, clang++ or CXX); install one, such as `apt install g++`")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    path = folder / f"mlff_cpu-{key}-{hashlib.sha256(version.encode()).hexdigest()[:8]}.so"
    with lock(path.with_suffix(".lock")):
        if path.exists():
            with contextlib.suppress(OSError):
                return ctypes.CDLL(str(path))
            path.unlink(missing_ok=True)  # damaged, such as by a full disk
        logger.info("compiling the CPU kernel with %s into %s (once)", compiler, path)
        compile_library(path, compiler)
    return ctypes.CDLL(str(path))


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Keep other processes waiting while one compiles; on a system without file locks, each one compiles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
