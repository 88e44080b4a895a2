"""What every exporter does: take the student's graph, write by rename, open again, compare."""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mlff_core.atomic_write import make_folder
from mlff_core.card import ModelCard
from mlff_core.errors import CheckpointError, InputError, UnsupportedError, first_line
from mlff_core.export.agreement import agreement
from mlff_core.model.edge_graph import EdgeGraph
from mlff_core.models.devices import resolve_dtype
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
"""Key of the card in a file's metadata; beside it is ``dtype``."""


def edge_graph(potential: Potential) -> EdgeGraph:
    """Return the exportable graph of a student, on the CPU, in the student's precision.

    Raises
    ------
    UnsupportedError
        The potential is no student: a teacher or an exported file has no network to write, a committee several.
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
    # A copy, not a new network, whose random start would draw from the caller's generator.
    network = copy.deepcopy(potential.model).to("cpu", potential.dtype)
    return EdgeGraph(network.requires_grad_(False)).eval()


def write_checked(
    format_name: str,
    potential: Potential,
    path: Path,
    write: Callable[[Path], None],
    reopen: Callable[[Path], Potential],
    structures: Sequence[AtomicBatch] | None = None,
    tolerance: Tolerance | None = None,
) -> ExportReport:
    """Write a file beside ``path``, open it, compare it with ``potential``, and only then rename it into place.

    Parameters
    ----------
    format_name
        For messages and the report.
    potential
        What was exported.
    path
        Where the file goes.
    write
        Writes to the path it is given.
    reopen
        Opens the path it is given.
    structures
        What to compare on; None for :func:`check_batches`.
    tolerance
        How far off the file may be; None for what the potential's precision allows.

    Raises
    ------
    InputError
        The folder does not exist or cannot be written.
    MlffError
        The file that was read back gives other numbers.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder; make it first, or give another output path")
    make_folder(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file name for the export")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        reopened = reopen(temporary)
        batches = structures if structures is not None else check_batches(potential.card, potential.dtype)
        with contextlib.nullcontext() if potential.guard is None else potential.guard.paused():
            found = agreement(potential, reopened, batches)
        if tolerance is None:
            tolerance = Tolerance(1e-9, 1e-8, 1e-9) if potential.dtype == torch.float64 else Tolerance()
        found.require(f"the {format_name} export", tolerance)
        for file in Path(folder).iterdir():
            file.replace(path.parent / file.name)
    return ExportReport(
        path=path,
        format=format_name,
        size_bytes=path.stat().st_size,
        delta_energy=found.energy,
        delta_forces=found.forces,
        delta_stress=found.stress,
    )


def check_batches(card: ModelCard, dtype: torch.dtype) -> list[AtomicBatch]:
    """Return the structures of :mod:`mlff_core.structures.examples`, in the elements of ``card``, as batches.

    Every structure comes alone, and all of them once more as one batch.
    """
    frames = [in_elements(atoms, card.elements) for atoms in all_structures().values()]
    return [batch_from_atoms(frame, dtype=dtype) for frame in frames] + [batch_from_atoms(frames, dtype=dtype)]


def in_elements(atoms: Atoms, elements: tuple[int, ...]) -> Atoms:
    """Return the structure with every element that is not among ``elements`` replaced by one that is."""
    changed = atoms.copy()
    changed.numbers = [z if z in elements else elements[z % len(elements)] for z in atoms.numbers]
    return changed


def card_entries(potential: Potential) -> dict[str, str]:
    """Return the text that a file of another format carries, so that :func:`card_from_entries` can read it."""
    return {CARD: json.dumps(potential.card.to_dict()), "dtype": str(potential.dtype).removeprefix("torch.")}


def card_from_entries(entries: Mapping[str, str]) -> tuple[ModelCard, torch.dtype]:
    """Return card and precision out of what :func:`card_entries` gave."""
    return ModelCard.from_dict(json.loads(entries[CARD])), resolve_dtype(entries["dtype"])


@contextmanager
def opening(path: Path, format_name: str, title: str) -> Iterator[None]:
    """Refuse what cannot be opened in this block as no export of ours; our own errors pass.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or of someone else.
    """
    if not Path(path).is_file():
        raise CheckpointError(
            f"there is no file {path}; write it with `mlff export MODEL --format {format_name} -o {path}`"
        )
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # Loaders raise RuntimeError, zipfile's, OS and classes of their own on foreign bytes.
        raise CheckpointError(
            f"{path} is no {title} of this project: {first_line(error)}; "
            f"write it with `mlff export --format {format_name}`"
        ) from error


@contextmanager
def deprecation_silenced() -> Iterator[None]:
    """Silence torch's warning that TorchScript is no longer developed: what loads it remains."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=FutureWarning)  # from torch 2.14 on
        yield
