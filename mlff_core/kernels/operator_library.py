"""The library of operators: the CPU kernel as ``torch.ops.mlff``, compiled once for each version of torch.

It links torch's own C++ interface, since torch's stable one registers no derivatives.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from mlff_core.kernels.build import SOURCES as KERNEL_SOURCES
from mlff_core.kernels.build import BuildError, cache_folder, find_compiler, load_library, lock, run_compiler
from mlff_core.structures.neighbors import JUMP, NUCLEUS, SAME_STEP
from mlff_core.units import COULOMB_EV_ANGSTROM

SOURCES = Path(__file__).parent / "operators"

logger = logging.getLogger("mlff_core.kernels")


def library_path() -> Path:
    """Return the path of the library for this torch; it is compiled into the cache at the first call, in half a minute.

    Raises
    ------
    BuildError
        There is no compiler, or it failed. Later calls raise the same error without another attempt.
    """
    result = _built_once(cache_folder())
    if isinstance(result, BuildError):
        raise result
    return result


def load_operators() -> None:
    """Register ``torch.ops.mlff``; does nothing if a library has registered it.

    Raises
    ------
    BuildError
        The library cannot be built or loaded here.
    """
    if is_loaded():
        return
    path = library_path()
    try:
        # Not torch.ops.load_library: metatomic names all libraries loaded so in every file that it writes.
        ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(
            f"the library of operators {path} cannot be loaded: {error}; remove it to build it again"
        ) from error


def is_loaded() -> bool:
    """Return whether ``torch.ops.mlff`` is registered."""
    return hasattr(torch.ops.mlff, "structure_energy")


def is_built() -> bool:
    """Return whether :func:`load_operators` would take no time to compile.

    Raises
    ------
    BuildError
        The kernel's own library cannot be built or loaded here.
    """
    return is_loaded() or any(cache_folder().glob(f"mlff_operators-{_command_and_key()[1]}-*.so"))


@functools.cache
def _built_once(folder: Path) -> Path | BuildError:
    try:
        return _built(folder)
    except BuildError as error:
        return error
    except OSError as error:
        return BuildError(f"the library of operators cannot be built: {error}; set MLFF_CACHE_DIR to another folder")


def _command_and_key() -> tuple[list[str], str]:
    """Return the arguments of the compilation, and what stands in the name of the library that they make."""
    command = compile_command(Path(load_library()._name))
    digest = hashlib.sha256(repr((command, torch.__version__)).encode())
    for path in sorted([*SOURCES.iterdir(), KERNEL_SOURCES / "api.h"]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return command, digest.hexdigest()[:16]


def _built(folder: Path) -> Path:
    (command, key), compiler = _command_and_key(), find_compiler()
    if compiler is None:
        # A library that any compiler made from these sources will do.
        for path in sorted(folder.glob(f"mlff_operators-{key}-*.so")):
            return path
        raise BuildError("no C++ compiler was found (c++, g++, clang++ or CXX); install one, such as `apt install g++`")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    target = folder / f"mlff_operators-{key}-{hashlib.sha256(version.encode()).hexdigest()[:8]}.so"
    with lock(target.with_suffix(".lock")):
        if not target.exists():
            logger.info("compiling the operators for torch %s into %s (once)", torch.__version__, target)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as part:
                finished = Path(part) / "library.so"
                run_compiler([compiler, *command, "-o", str(finished)])
                finished.replace(target)
    return target


def compile_command(kernel: Path) -> list[str]:
    """Return the arguments of the compilation, without compiler and output, for a kernel's library at this path."""
    home = Path(torch.__file__).parent
    include, libraries = home / "include", home / "lib"
    return [
        *("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden"),
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        f'-DMLFF_KERNEL_PATH="{kernel}"',
        f"-DMLFF_JUMP={JUMP!r}",
        f"-DMLFF_NUCLEUS={NUCLEUS!r}",
        f"-DMLFF_SAME_STEP={SAME_STEP!r}",
        f"-DMLFF_COULOMB={COULOMB_EV_ANGSTROM!r}",
        *(f"-I{folder}" for folder in (include, include / "torch" / "csrc" / "api" / "include", KERNEL_SOURCES)),
        str(SOURCES / "operators.cpp"),
        *(f"-L{libraries}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{libraries}", "-ldl"),
        *(("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()),
    ]
