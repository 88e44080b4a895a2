"""The data sets of the rounds: the initial one, and the structures that each round adds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mlff_core.data.label import label_structures
from mlff_core.data.reader import Dataset
from mlff_core.data.shards import BatchResult, Failure, Shards, commit
from mlff_core.data.structure import LabelledStructure
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.training.settings import DataSection
from mlff_core.training.subsets import training_and_validation
from mlff_plugins.active.frames import KIND

BATCH = 8
"""Structures labelled between two saves, and so the most that a killed run loses."""


def write_start(path: Path, section: DataSection) -> None:
    """Write the training and validation structures of these settings as a data set with a split."""
    with Dataset(section.path) as dataset:
        train, validation = training_and_validation(dataset, section)

        def structures() -> Iterator[LabelledStructure]:
            for indices, split in ((train, "train"), (validation, "validation")):
                for structure in dataset.structures(indices.tolist()):
                    yield replace(structure, smiles=None, split=split)

        write_dataset(
            path,
            structures(),
            teacher=dataset.teacher,
            kinds=list(dict.fromkeys([*dataset.kinds, KIND])),
            smiles=dataset.smiles,
            created={"command": "distill active", "source": {"name": dataset.path.name, "sha256": dataset.sha256()}},
            license=dataset.license,
        )


def labelled(
    teacher: Potential, candidates: Sequence[LabelledStructure], n: int, folder: Path
) -> list[LabelledStructure]:
    """Return the first ``n`` structures that the teacher can label with forces below the limit.

    Each labelled batch is saved in ``folder``, so that a killed run loses one batch at most.
    ``folder.skipped.jsonl`` lists the structures that the teacher failed on, and the reasons.
    """
    shards = Shards(folder, {"command": "distill active", "teacher": teacher.card.name})
    n_found = start = k = 0
    while n_found < n and start < len(candidates):
        stop = start + min(BATCH, n - n_found, len(candidates) - start)
        record = shards.record(k) or commit(folder, k, _labelled_batch(teacher, candidates, range(start, stop)))
        n_found += record.n_structures
        start, k = stop, k + 1
    shards.write_failures(folder.with_name(f"{folder.name}.skipped.jsonl"), k)
    return list(shards.structures(k))


def _labelled_batch(teacher: Potential, candidates: Sequence[LabelledStructure], chosen: range) -> BatchResult:
    made = label_structures(teacher, [candidates[j] for j in chosen])
    return BatchResult(
        structures=[structure for structure in made.structures if structure is not None],
        n_inputs=len(chosen),
        n_failed_inputs=len(made.failures),
        failures=[Failure(f"candidate {chosen[j]}", KIND, reason) for j, reason in sorted(made.failures.items())],
        dropped=dict(made.dropped),
    )


def check_teacher(teacher: Potential, dataset: Dataset) -> None:
    """Refuse a teacher other than that of the data set: its energies have another zero.

    Raises
    ------
    InputError
        The teachers differ; the message names both.
    """
    ours, theirs = teacher.card.teacher.get("name", teacher.card.name), dataset.teacher.get("name")
    if ours != theirs:
        raise InputError(
            f"{dataset.path} was labelled by {theirs or 'an unknown teacher'}, and the teacher given is {ours}: their "
            "energies are not comparable. Give the data set's teacher, or label the data set again"
        )


def write_extended(path: Path, dataset: Dataset, added: Sequence[LabelledStructure]) -> None:
    """Write a data set with labelled structures added to it."""

    def structures() -> Iterator[LabelledStructure]:
        for structure in dataset.structures():
            yield replace(structure, smiles=None)
        for structure in added:
            # A data set cannot hold a label that only some structures have.
            yield structure if dataset.has("atom_energies") else replace(structure, atom_energies=None)

    write_dataset(
        path,
        structures(),
        teacher=dataset.teacher,
        kinds=dataset.kinds,
        smiles=dataset.smiles,
        created={"command": "distill active", "source": dataset.created, "added": len(added)},
        license=dataset.license,
    )
