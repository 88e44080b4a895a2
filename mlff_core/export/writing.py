"""The steps of every exporter: take the student's graph, write by rename, open the file again, compare."""

from __future__ import annotations

import contextlib
import copy
import errno
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_core.atomic_write import make_folder, part_beside, unwritable
from mlff_core.card import ModelCard
from mlff_core.errors import CheckpointError, InputError, MissingDependencyError, UnsupportedError, first_line
from mlff_core.export.agreement import agreement
from mlff_core.model.edge_graph import EdgeGraph, graph_of
from mlff_core.models.archive import check_archive
from mlff_core.models.devices import resolve_dtype
from mlff_core.models.sealed import ARCHIVE, check_seal, seal_archive
from mlff_core.plugins.exporter import ExportReport
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.examples import all_structures
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.tolerance import Tolerance

if TYPE_CHECKING:
    from ase import Atoms

CARD = "mlff_card"
"""Key of the card in a file's metadata; beside it are ``dtype`` and, in files that end with a digest, ``digest``."""
OUTPUTS = "further outputs"
"""Key of the names of outputs beyond those of every file."""
NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""System errors that mean that a file cannot be written at this place."""

_BESIDE = (0.9, 0.9, 0.9)
"""Vector from an atom to the one that is added to make the number of electrons even, Å."""


def edge_graph(potential: Potential) -> EdgeGraph:
    """Return the exportable graph of a student, on the CPU, in the student's precision.

    Raises
    ------
    UnsupportedError
        The potential is not a student: a teacher or an exported file has no network to write, a committee has several.
    """
    if isinstance(potential, VerletPotential):
        potential = potential.potential
    if potential.members:
        raise UnsupportedError(
            f"{potential.card.name} is a committee, but a file holds one network, so it cannot be exported or watched. "
            "Export its members one by one, or run it where the engine calls Python"
        )
    if not isinstance(potential, StudentPotential):
        raise UnsupportedError(
            f"{potential.card.name} cannot be exported: only a student (a model.pt) holds a network to write"
        )
    # A copy: initialising a new network would draw from the caller's random generator.
    network = copy.deepcopy(potential.model).to("cpu", potential.dtype)
    return graph_of(network.requires_grad_(False)).eval()


def write_checked(
    format_name: str,
    potential: Potential,
    path: Path,
    write: Callable[[Path], None],
    reopen: Callable[[Path], Potential],
    structures: Sequence[AtomicBatch] | None = None,
    tolerance: Tolerance | None = None,
) -> ExportReport:
    """Write a file beside ``path``, add its digest, compare it with ``potential``, and only then rename it into place.

    Parameters
    ----------
    format_name
        For messages and the report.
    potential
        The exported potential.
    path
        Path of the file.
    write
        Writes one file to the given path, with Python's streams, since torch's own writer aborts the process if the
        disk is full. An archive gets its digest afterwards, see :mod:`mlff_core.models.sealed`.
    reopen
        Opens the path it is given.
    structures
        Structures to compare on; None for :func:`check_batches`.
    tolerance
        Largest deviation of the file; None for the default of the potential's precision.

    Raises
    ------
    InputError
        The folder does not exist or cannot be written.
    MlffError
        The file that was read back gives different numbers.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; create it first, or give another output path")
    make_folder(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file name for the export")
    with part_beside(path) as temporary:
        try:
            write(temporary)
            seal_archive(temporary)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise unwritable(path, error) from error
            raise
        reopened = reopen(temporary)
        batches = structures if structures is not None else check_batches(potential.card, potential.dtype)
        with contextlib.nullcontext() if potential.guard is None else potential.guard.paused():
            found = agreement(potential, reopened, batches)
        if tolerance is None:
            tolerance = Tolerance(1e-9, 1e-8, 1e-9) if potential.dtype == torch.float64 else Tolerance()
        found.require(f"the {format_name} export", tolerance)
    return ExportReport(
        path=path,
        format=format_name,
        size_bytes=path.stat().st_size,
        delta_energy=found.energy,
        delta_forces=found.forces,
        delta_stress=found.stress,
    )


def check_batches(card: ModelCard, dtype: torch.dtype) -> list[AtomicBatch]:
    """Return the structures of :mod:`mlff_core.structures.examples`, as ``card`` allows them, as batches.

    Each structure is a batch of its own; the last batch holds all of them.
    """
    frames = [for_card(atoms, card) for atoms in all_structures().values()]
    return [batch_from_atoms(frame, dtype=dtype) for frame in frames] + [batch_from_atoms(frames, dtype=dtype)]


def for_card(atoms: Atoms, card: ModelCard) -> Atoms:
    """Return the structure with every element that is not among those of ``card`` replaced by one that is.

    If the card allows closed shells only, a structure with an odd number of electrons gets another element for one
    atom, or one more atom of an element with an odd atomic number if there is no other element.
    """
    changed, elements = atoms.copy(), card.elements
    changed.numbers = [z if z in elements else elements[z % len(elements)] for z in atoms.numbers]
    if card.spin_multiplicities != "closed shell" or changed.numbers.sum() % 2 == 0:
        return changed
    # The heaviest atom with an odd atomic number, since the next element is closest to it in size.
    k = int(np.argmax(np.where(changed.numbers % 2, changed.numbers, 0)))
    even = [z for z in elements if z % 2 == 0]
    if even:
        changed.numbers[k] = min(even, key=lambda z: abs(z - int(changed.numbers[k])))
        return changed
    changed.append(changed[k])
    changed.positions[-1] += _BESIDE
    return changed


def save_script(module: torch.nn.Module, path: Path, extra_files: Mapping[str, str]) -> None:
    """Write a scripted module with additional files in its archive.

    ``torch.jit.save`` does not write to the path itself, since its writer aborts the process if the disk is full.
    """
    stream = io.BytesIO()
    with deprecation_silenced():
        torch.jit.save(module, stream, _extra_files=dict(extra_files))
    path.write_bytes(stream.getvalue())


def card_entries(potential: Potential) -> dict[str, str]:
    """Return the metadata of an exported file, from which :meth:`ExportedFile.card` reads the card."""
    entries = {
        CARD: json.dumps(potential.card.to_dict()),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "digest": "SHA-256 at the end of the file, of all bytes before it",
    }
    return {**entries, OUTPUTS: "charges"} if "charges" in potential.supports else entries


@dataclass(frozen=True)
class ExportedFile:
    """The content of an exported file, checked before a runtime opens it.

    Parameters
    ----------
    path
        Path of the file.
    content
        Content of the whole file.
    is_sealed
        Whether it ends with a digest; the digest was then compared and is right.
    """

    path: Path
    content: bytes
    is_sealed: bool

    def card(self, entries: Mapping[str, str]) -> tuple[ModelCard, torch.dtype]:
        """Return card and precision from the metadata of :func:`card_entries`; warn of a file without a digest.

        Raises
        ------
        InputError
            The metadata say that the file ends with a digest, but it does not.
        """
        if not self.is_sealed:
            if "digest" in entries:
                raise InputError("the digest at its end is missing, so it is damaged")
            warnings.warn(
                f"{self.path} was exported by an older version and has no digest, so damage to it cannot be seen; "
                "export it again",
                stacklevel=2,
            )
        return ModelCard.from_dict(json.loads(entries[CARD])), resolve_dtype(entries["dtype"])


@contextmanager
def opening(path: Path, format_name: str, title: str) -> Iterator[ExportedFile]:
    """Yield an exported file whose digest is right; a file that the block cannot open is refused as not an export.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or not written by this package.
    MissingDependencyError
        The block needs something that is not here.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"there is no file {path}; write it with `mlff export MODEL --format {format_name} -o {path}`"
        )
    try:
        content = path.read_bytes()
        is_sealed = check_seal(path, content)
        if content.startswith(ARCHIVE):
            check_archive(io.BytesIO(content), len(content), may_deflate=True)
        yield ExportedFile(path, content, is_sealed)
    except (CheckpointError, MissingDependencyError):
        raise
    except Exception as error:
        # On bytes of another format, loaders raise RuntimeError, OSError, zipfile errors and classes of their own.
        raise CheckpointError(
            f"{path} is not a {title} of this project: {first_line(error)}; "
            f"write it with `mlff export --format {format_name}`"
        ) from error


@contextmanager
def deprecation_silenced() -> Iterator[None]:
    """Silence torch's warning that TorchScript is deprecated; loading its files is still supported."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=FutureWarning)  # from torch 2.14 on
        yield
