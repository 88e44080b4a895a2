"""The compiled kernel: AOTInductor compiles the exported graph to machine code, once for each model and machine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import platform
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mlff_core.errors import InputError, UnsupportedError, first_line
from mlff_core.kernels.build import BuildError, cache_folder, find_compiler, lock
from mlff_core.kernels.weights import WeightVersions
from mlff_core.model.architectures import computes_as_written
from mlff_core.model.edge_graph import graph_of
from mlff_core.model.serving import Serves
from mlff_core.model.student import Student
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, edge_vectors
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial

logger = logging.getLogger("mlff_core.kernels")

MODEL_SOURCES = Path(__file__).parents[1] / "model"

SERVES = Serves("the kernel 'compiled'", "use kernel='reference'")

Package = Callable[..., Sequence[Tensor]]
"""(atomic_numbers, edge_vectors, centers, neighbors, system_idx) → (energy, atom_energies, forces, virial), and the
charges of atoms if the student gives them."""


class CompiledKernel:
    """A kernel that computes energy, forces and stress of a PaiNN with code that AOTInductor compiled from its graph.

    It is slower than the fused kernel, but it supports everything that torch can trace, also subclasses of ``PaiNN``
    and hooks. The first use of a model compiles for a minute or more; later uses read the code from the cache.

    Parameters
    ----------
    model
        The network, on the CPU, in float32 or float64.

    Raises
    ------
    InputError
        The model is on another device.
    UnsupportedError
        The model is in another precision, or its energy has a term that is not supported.
    BuildError
        The code is not in the cache, and there is no compiler or it failed.
    """

    name = "compiled"
    checks_distances = False
    selects_edges = False

    def __init__(self, model: Student) -> None:
        if model.scale.device.type != "cpu":
            raise InputError(
                f"the kernel 'compiled' is for the CPU, but the model is on {model.scale.device}; use device='cpu' or "
                "kernel='auto'"
            )
        if model.scale.dtype not in (torch.float32, torch.float64):
            raise UnsupportedError(f"the kernel 'compiled' is for float32 and float64, not for {model.scale.dtype}")
        SERVES.check(model)
        self.model = model
        self._weights = WeightVersions(model)
        self._package = open_package(model)

    def evaluate(self, batch: AtomicBatch, edges: EdgeList, want: Collection[str]) -> Prediction:
        """Return what is in ``want``: ``"energy"``, ``"forces"``, ``"stress"``, ``"atom_energies"``, ``"charges"``."""
        versions = self._weights.current()
        if self._weights.differ(versions):  # the weights are part of the compiled code
            self._package = open_package(self.model)
            self._weights.copied(versions)
        with torch.no_grad():
            energy, atom_energies, forces, virial, *charges = self._package(
                batch.atomic_numbers.contiguous(),
                edge_vectors(batch, edges).contiguous(),
                edges.centers.contiguous(),
                edges.neighbors.contiguous(),
                batch.system_idx.contiguous(),
            )
        return Prediction(
            energy=energy,
            forces=forces if "forces" in want else None,
            stress=stress_from_virial(virial, batch.cell) if "stress" in want else None,
            atom_energies=atom_energies if "atom_energies" in want else None,
            charges=charges[0] if "charges" in want else None,
        )


def is_cached(model: Student) -> bool:
    """Return whether a model without hooks or replaced functions was compiled before; this takes milliseconds."""
    return computes_as_written(model) and _path(model).is_file()


def open_package(model: Student) -> Package:
    """Return a model as compiled code, from the cache if it holds it.

    Raises
    ------
    BuildError
        There is no compiler, it failed, or the cache cannot be written.
    """
    path = _path(model)
    if package := _load(path):
        return package
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C++ compiler was found (c++, g++, clang++ or CXX); install one, such as `apt install g++`")
    try:
        with lock(path.with_suffix(".lock")):
            if package := _load(path):  # another process has compiled it meanwhile
                return package
            logger.info("compiling the model into %s (once, for a minute or more)", path)
            _compile(model, path, compiler)
    except OSError as error:
        raise BuildError(f"{path} cannot be written: {error}; set MLFF_CACHE_DIR to another folder") from error
    package = _load(path)
    if package is None:
        raise BuildError(f"the file {path} that AOTInductor wrote cannot be loaded; use kernel='reference'")
    return package


def package_key(model: Student) -> str:
    """Return 24 hexadecimal digits that change with the model, torch, the processor and the sources of the code."""
    digest = hashlib.sha256(f"{torch.__version__}\n{processor()}\n{model.config}\n".encode())
    if computes_as_written(model):
        sources = [*sorted(MODEL_SOURCES.glob("*.py")), Path(__file__)]
        for source in sources:
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    else:
        # A subclass or a hook must be traced to find what it computes, which takes seconds.
        from mlff_core.model.traced_program import exported_program

        digest.update(exported_program(graph_of(model)).graph_module.code.encode())
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:24]


def processor() -> str:
    """Return a text that identifies the machine code that runs here; on Linux it has the processor's name and flags."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    kept = {line for line in lines if line.split(":")[0].strip() in ("model name", "flags", "Features")}
    return "\n".join([platform.system(), platform.machine(), torch.backends.cpu.get_cpu_capability(), *sorted(kept)])


def _path(model: Student) -> Path:
    return cache_folder() / f"mlff_compiled-{package_key(model)}.pt2"


def _load(path: Path) -> Package | None:
    """Return the code in a file, or None if there is none or it is damaged."""
    if not path.is_file():
        return None
    from torch._inductor import aoti_load_package

    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # compares checksums, which the loader does not
                raise zipfile.BadZipFile(f"its part {damaged} has changed since it was written")
        package: Package = aoti_load_package(str(path))
    except (RuntimeError, OSError, zipfile.BadZipFile) as error:
        logger.info("the compiled model %s cannot be loaded (%s)", path, error)
        return None
    logger.info("the compiled model %s is used", path)
    return package


def _compile(model: Student, path: Path, compiler: str) -> None:
    from torch._inductor import aoti_compile_and_package

    from mlff_core.model.traced_program import exported_program

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
        finished, stream = Path(folder) / "model.pt2", io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                aoti_compile_and_package(
                    exported_program(graph_of(model)),
                    package_path=stream,  # torch's own writer aborts the process if the disk is full
                    # Otherwise it uses as many threads as the process that compiled it.
                    inductor_configs={"cpp.dynamic_threads": True, "cpp.cxx": (None, compiler)},
                )
        except Exception as error:  # Inductor raises many types of error
            raise BuildError(f"AOTInductor cannot compile this model: {first_line(error)}") from error
        finished.write_bytes(stream.getvalue())
        finished.replace(path)
