"""Long work in batches that can be killed and resumed: one file per batch, each complete or absent.

A batch is done when its ``.json`` exists, which is written after its ``.h5``; both get their names by rename. A run
that is killed loses only the batches it was working on, and a run started again continues after those it finds.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mlff_core.atomic_write import make_folder, remove_stale_parts, write_atomically
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledStructure
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Failure:
    """A failure and its reason."""

    source: str
    """The input: file and line, or frame."""
    kind: str
    """The kind of geometry that failed; empty where the input itself did."""
    reason: str
    """Text of the error."""
    count: int = 1
    """Number of geometries of this input and kind that are missing."""


@dataclass(frozen=True)
class BatchResult:
    """Result of one batch."""

    structures: Sequence[LabelledStructure]
    """Structures in the order of the data set."""
    n_inputs: int
    n_failed_inputs: int
    """Molecules or frames of the batch, and those that failed in whole or in part."""
    failures: Sequence[Failure] = ()
    """The failures."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of geometries that each rule left out (clash, largest force …); not failures."""


@dataclass(frozen=True)
class BatchRecord:
    """Numbers and failures of a batch, kept as JSON beside its structures."""

    n_structures: int
    n_inputs: int
    n_failed_inputs: int
    failures: list[dict[str, Any]]
    dropped: dict[str, int]


class Shards:
    """The folder of a run's batches.

    Parameters
    ----------
    folder
        Path; made if it does not exist.
    job
        Description of the run's work, JSON; batches made for another job are an error.

    Raises
    ------
    InputError
        The folder holds batches of another job.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.folder = folder
        make_folder(folder)
        remove_stale_parts(folder)
        path = folder / "job.json"
        wanted = json.loads(json.dumps(job))
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            different = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
            if different:
                raise InputError(
                    f"{folder} holds the batches of a run with another {', '.join(different)}; "
                    "continue with the settings of that run, or remove the folder to start again"
                )
        else:
            _write_text(path, json.dumps(wanted, indent=1))

    def record(self, k: int) -> BatchRecord | None:
        """Return the record of batch k, None if it is not done."""
        return kept(self.folder, k)

    def structures(self, n_batches: int) -> Iterator[LabelledStructure]:
        """Yield the structures of all batches, in order.

        Raises
        ------
        InputError
            A batch is missing, or holds another number of structures than its record says.
        """
        for k in range(n_batches):
            record, path = self.record(k), self._path(k, "h5")
            n_kept = 0 if record is None else record.n_structures
            if record is None or (n_kept and not path.exists()):
                raise InputError(f"batch {k} of {n_batches} is missing in {self.folder}; run again to make it again")
            if n_kept:
                with Dataset(path) as shard:
                    if len(shard) != n_kept:
                        raise InputError(
                            f"{path} must hold {n_kept} structures, holds {len(shard)}; remove it and its .json, and "
                            "run again to make it again"
                        )
                    for structure in shard.structures():
                        # Numbers of molecules begin at 0 in each batch where they come from SMILES.
                        yield replace(structure, molecule_id=None) if structure.smiles else structure

    def kinds(self, n_batches: int) -> list[str]:
        """Return the kinds of geometry that occur, in order of appearance."""
        found: dict[str, None] = {}
        for k in range(n_batches):
            path = self._path(k, "h5")
            if path.exists():
                with Dataset(path) as shard:
                    found.update(dict.fromkeys(shard.kinds))
        return list(found)

    def failures(self, n_batches: int) -> Iterator[dict[str, Any]]:
        """Yield the failures, in order."""
        for k in range(n_batches):
            if (record := self.record(k)) is not None:
                yield from record.failures

    def write_failures(self, path: Path, n_batches: int) -> int:
        """Write the failures, one JSON object per line, and return their number; no file if there are none."""
        lines = [json.dumps(failure, ensure_ascii=False) for failure in self.failures(n_batches)]
        if lines:
            _write_text(path, "\n".join(lines) + "\n")
        else:
            path.unlink(missing_ok=True)
        return len(lines)

    def common_reasons(self, n_batches: int, n: int = 3) -> list[tuple[str, int]]:
        """Return the most frequent reasons and how often each occurred."""
        counts: Counter[str] = Counter()
        for failure in self.failures(n_batches):
            counts[failure["reason"]] += failure["count"]
        return counts.most_common(n)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.folder)

    def _path(self, k: int, ending: str) -> Path:
        return _path(self.folder, k, ending)


def kept(folder: Path, k: int) -> BatchRecord | None:
    """Return the record of batch k of the run in ``folder``, None if it is not done."""
    try:
        return BatchRecord(**json.loads(_path(folder, k, "json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def commit(folder: Path, k: int, result: BatchResult) -> BatchRecord:
    """Save a batch that is done; called in any process."""
    record = BatchRecord(
        n_structures=len(result.structures),
        n_inputs=result.n_inputs,
        n_failed_inputs=result.n_failed_inputs,
        failures=[asdict(failure) for failure in result.failures],
        dropped=dict(result.dropped),
    )
    if result.structures:
        write_dataset(_path(folder, k, "h5"), result.structures)
    _write_text(_path(folder, k, "json"), json.dumps(asdict(record)))
    return record


def _path(folder: Path, k: int, ending: str) -> Path:
    return folder / f"batch-{k:06d}.{ending}"


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, text.encode())
