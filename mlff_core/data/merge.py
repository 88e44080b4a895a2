"""Several data sets as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledStructure
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError


def merge(sources: Sequence[str | Path], output: str | Path) -> int:
    """Write all structures of several data sets as one, and return how many there are.

    Molecules with the same SMILES become one; those without stay apart. A split is not carried over, since a molecule
    may be for training in one set and for testing in the other.

    Parameters
    ----------
    sources
        Data sets, all labelled by one teacher or none labelled.
    output
        The data set to make.

    Raises
    ------
    InputError
        Fewer than two sets, or sets of different teachers.
    """
    if len(sources) < 2:
        raise InputError(f"at least two data sets are needed to merge, got {len(sources)}")
    datasets = [Dataset(path) for path in sources]
    first = datasets[0]
    for other in datasets[1:]:
        if other.teacher != first.teacher or other.is_labelled != first.is_labelled:
            raise InputError(
                f"{first.path} and {other.path} have labels of different teachers "
                f"({_name(first)} and {_name(other)}), whose energies do not compare; label one of them again"
            )
    table: dict[str, int] = {}
    smiles: list[str] = []
    renamed: list[dict[int, int]] = []
    for dataset in datasets:
        new: dict[int, int] = {}
        for molecule in sorted({int(m) for m in dataset.molecule_id}):
            text = dataset.smiles[molecule] if dataset.smiles is not None and dataset.has("molecule_id") else ""
            if text and text in table:
                new[molecule] = table[text]
                continue
            new[molecule] = len(smiles)
            if text:
                table[text] = len(smiles)
            smiles.append(text)
        renamed.append(new)

    def structures() -> Iterator[LabelledStructure]:
        for dataset, new in zip(datasets, renamed, strict=True):
            for k, structure in enumerate(dataset.structures()):
                yield replace(structure, molecule_id=new[int(dataset.molecule_id[k])], smiles=None, split=None)

    kinds = list(dict.fromkeys(kind for dataset in datasets for kind in dataset.kinds))
    licenses = list(dict.fromkeys(dataset.license for dataset in datasets if dataset.license))
    n_structures = write_dataset(
        output,
        structures(),
        teacher=first.teacher,
        kinds=kinds,
        smiles=smiles if table else None,
        created={
            "command": "merge",
            "sources": [{"name": d.path.name, "sha256": d.sha256(), "created": d.created} for d in datasets],
        },
        license="; ".join(licenses),
    )
    for dataset in datasets:
        dataset.close()
    return n_structures


def _name(dataset: Dataset) -> str:
    return str(dataset.teacher.get("name", "unknown")) if dataset.is_labelled else "none"
