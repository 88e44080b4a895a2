"""A run over batches that makes a data set: it is resumed, reports progress and joins the batches."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlff_core.card import ModelCard
from mlff_core.data.digest import file_sha256
from mlff_core.data.label_settings import LabelSettings
from mlff_core.data.reader import Dataset
from mlff_core.data.shards import BatchRecord, Shards
from mlff_core.data.workers import Task, run_batches
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    n_done: int
    n_batches: int
    """Number of batches, including those of an earlier run that was killed."""
    n_resumed: int
    """Batches that were done already."""
    n_structures: int
    """Structures so far."""
    n_failed_inputs: int
    n_inputs: int
    """Inputs that failed in whole or in part, and all inputs so far."""


@dataclass(frozen=True)
class RunReport:
    """Result of a run."""

    path: Path
    """The data set."""
    n_structures: int
    """Number of structures in it."""
    n_inputs: int
    n_failed_inputs: int
    """Molecules or frames, and those that failed in whole or in part."""
    n_resumed: int
    n_batches: int
    """Batches reused from a run that was killed, and all batches."""
    dropped: Mapping[str, int]
    """Number of geometries that each rule left out."""
    skipped: Path | None
    """The file that lists failures and their reasons; None if there were none."""


@dataclass(frozen=True)
class Job:
    """The work of a run and its output."""

    task: Task
    """The work, in batches."""
    n_batches: int
    n_inputs: int
    """Numbers of batches and of inputs."""
    output: Path
    """The data set file."""
    identity: Mapping[str, Any]
    """Everything that determines the result (settings, hash of the input, teacher), JSON; a run is resumed only if it
    is the same."""
    max_failed_share: float
    """The run stops when more than this share of its inputs has failed."""
    teacher: Mapping[str, Any]
    created: Mapping[str, Any]
    license: str = ""
    """Attributes of the file."""
    smiles: Sequence[str] | None = None
    """One SMILES per molecule; None to gather them from the structures."""
    kinds: Sequence[str] = ()
    """Names in the order of their codes; names that do not occur are left out, others are appended."""

    @property
    def folder(self) -> Path:
        """Folder of the batches until the data set is complete."""
        return self.output.with_name(f"{self.output.name}.parts")

    @property
    def skipped(self) -> Path:
        """File that lists the failures."""
        return self.output.with_name(f"{self.output.name}.skipped.jsonl")


def make_job(
    command: str,
    task: Task,
    settings: LabelSettings,
    source: Path,
    output: Path,
    teacher: ModelCard | None,
    *,
    n_inputs: int,
    n_per_batch: int,
    smiles: Sequence[str] | None = None,
    kinds: Sequence[str] = (),
) -> Job:
    """Return the job of a command that makes a data set from a file.

    Parameters
    ----------
    command
        Name of the command, for the file's attributes.
    task
        The work, in batches.
    settings
        Settings; all of them determine the result except the allowed share of failures.
    source, output
        Paths of the files.
    teacher
        The teacher that labels; None for geometries without labels.
    n_inputs, n_per_batch
        Number of inputs, and of those in one batch.
    smiles, kinds
        See :class:`Job`.
    """
    plain = asdict(settings)
    plain.pop("max_failed_share")
    lineage = {} if teacher is None else dict(teacher.teacher) or {"name": teacher.name}
    digest = file_sha256(source)
    return Job(
        task=task,
        n_batches=-(-n_inputs // n_per_batch),
        n_inputs=n_inputs,
        output=output,
        identity={"command": command, "settings": plain, "source": digest, "teacher": lineage},
        max_failed_share=settings.max_failed_share,
        teacher=lineage,
        created={"command": command, "settings": plain, "source": {"name": source.name, "sha256": digest}},
        license="" if teacher is None else teacher.licence,
        smiles=smiles,
        kinds=kinds,
    )


def run_job(
    job: Job, processes: int, scheduler: str | None, on_progress: Callable[[Progress], None] | None
) -> RunReport:
    """Do all batches of a job that are not done yet, then join them into the data set.

    Parameters
    ----------
    job
        The work.
    processes, scheduler
        See :func:`~mlff_core.data.workers.run_batches`.
    on_progress
        Called after each batch.

    Raises
    ------
    InputError
        The output exists and belongs to another run, too many inputs failed, or no structure was made.
    """
    identity = {**job.identity, "n_inputs": job.n_inputs}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    tally = _Tally(job)
    if job.output.exists():
        return _finished_earlier(job, digest)
    shards = Shards(job.folder, identity)
    todo = []
    for k in range(job.n_batches):
        if (record := shards.record(k)) is None:
            todo.append(k)
        else:
            tally.add(record)
    tally.n_resumed = tally.n_done
    tally.check(shards)
    if on_progress is not None:
        on_progress(tally.progress())
    for _, record in run_batches(job.task, job.folder, todo, processes=processes, scheduler=scheduler):
        tally.add(record)
        if on_progress is not None:
            on_progress(tally.progress())
        tally.check(shards)
    n_failures = shards.write_failures(job.skipped, job.n_batches)
    if tally.n_structures == 0:
        reasons = _joined(shards.common_reasons(job.n_batches)) or f"left out: {dict(tally.dropped)}"
        raise InputError(f"no structure was made from {job.n_inputs} inputs: {reasons}")
    present = shards.kinds(job.n_batches)
    write_dataset(
        job.output,
        shards.structures(job.n_batches),
        teacher=job.teacher,
        kinds=[kind for kind in job.kinds if kind in present] + [kind for kind in present if kind not in job.kinds],
        smiles=job.smiles,
        created={
            **job.created,
            "run": digest,
            "n_inputs": tally.n_inputs,
            "n_failed_inputs": tally.n_failed,
            "dropped": dict(sorted(tally.dropped.items())),
        },
        license=job.license,
    )
    with Dataset(job.output) as written:
        # The batches are removed only when the data set holds as many structures as were counted.
        if len(written) != tally.n_structures:
            raise InputError(
                f"{job.output} must hold {tally.n_structures} structures, holds {len(written)}; remove it and run "
                f"again: the batches are kept in {job.folder}"
            )
    shards.remove()
    return tally.report(job.skipped if n_failures else None)


class _Tally:
    """Sums over batches."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.n_done = self.n_resumed = self.n_structures = self.n_inputs = self.n_failed = 0
        self.dropped: Counter[str] = Counter()

    def add(self, record: BatchRecord) -> None:
        self.n_done += 1
        self.n_structures += record.n_structures
        self.n_inputs += record.n_inputs
        self.n_failed += record.n_failed_inputs
        self.dropped.update(record.dropped)

    def check(self, shards: Shards) -> None:
        """Stop as soon as it is certain that too many inputs will have failed."""
        allowed = self.job.max_failed_share * self.job.n_inputs
        if self.n_failed > allowed:
            shards.write_failures(self.job.skipped, self.job.n_batches)
            raise InputError(
                f"{self.n_failed} of {self.n_inputs} inputs so far failed, more than the {self.job.max_failed_share:g} "
                f"of all {self.job.n_inputs} that max_failed_share allows: "
                f"{_joined(shards.common_reasons(self.job.n_batches))}. All are listed in {self.job.skipped}; correct "
                "the input, or raise max_failed_share and run again: the run continues from here"
            )

    def progress(self) -> Progress:
        return Progress(
            self.n_done, self.job.n_batches, self.n_resumed, self.n_structures, self.n_failed, self.n_inputs
        )

    def report(self, skipped: Path | None) -> RunReport:
        return RunReport(
            path=self.job.output,
            n_structures=self.n_structures,
            n_inputs=self.n_inputs,
            n_failed_inputs=self.n_failed,
            n_resumed=self.n_resumed,
            n_batches=self.job.n_batches,
            dropped=dict(self.dropped),
            skipped=skipped,
        )


def _finished_earlier(job: Job, digest: str) -> RunReport:
    """Return the report of a run that was finished before, perhaps killed at the very end."""
    with Dataset(job.output) as dataset:
        if dataset.created.get("run") != digest:
            raise InputError(
                f"{job.output} exists already and was made with other settings; "
                "give another name, or remove it to make it again"
            )
        n_structures, created = len(dataset), dataset.created
    if job.folder.exists():
        Shards(job.folder, {**job.identity, "n_inputs": job.n_inputs}).remove()
    return RunReport(
        path=job.output,
        n_structures=n_structures,
        n_inputs=job.n_inputs,
        n_failed_inputs=int(created["n_failed_inputs"]),
        n_resumed=job.n_batches,
        n_batches=job.n_batches,
        dropped=created["dropped"],
        skipped=job.skipped if job.skipped.exists() else None,
    )


def _joined(reasons: Sequence[tuple[str, int]]) -> str:
    return "; ".join(f"{reason} ({count}×)" for reason, count in reasons)
