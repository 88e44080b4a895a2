"""Merging several data sets into one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlff_core.atomic_write import one_writer
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledStructure
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError


def merge(
    sources: Sequence[str | Path], output: str | Path, weights: Mapping[str, float] | Mapping[Path, float] | None = None
) -> int:
    """Write all structures of several data sets as one data set, and return their number.

    Molecules with the same SMILES become one; those without stay apart. A split is not carried over, since a molecule
    may be for training in one set and for testing in the other.

    Parameters
    ----------
    sources
        Data sets, all labelled by the same teacher or none labelled. A composite teacher counts as the teacher inside
        its molecules, since both give a single molecule the same energy; the new set then names the composite.
    output
        The data set to make.
    weights
        Factor on the weights in a loss of each source's structures, by source; 1 by default.

    Raises
    ------
    InputError
        Fewer than two sets, the same one twice, an output that is one of them, sets of different teachers, or a weight
        that is not above 0 or for a set that is not a source.
    """
    factors = {Path(source): weight for source, weight in (weights or {}).items()}
    for source, weight in factors.items():
        if source not in map(Path, sources):
            raise InputError(f"a weight is given for {source}, which is not among the sets to merge; correct its name")
        if not 0 < weight < float("inf"):
            raise InputError(f"weights must be above 0, got {weight:g} for {source}")
    if len(sources) < 2:
        raise InputError(f"at least two data sets are needed to merge, got {len(sources)}")
    datasets = [Dataset(path) for path in sources]
    _check_apart(datasets, Path(output))
    first = datasets[0]
    for other in datasets[1:]:
        if _of_molecules(other) != _of_molecules(first) or other.is_labelled != first.is_labelled:
            raise InputError(
                f"{first.path} and {other.path} have labels of different teachers "
                f"({_name(first)} and {_name(other)}), whose energies are not comparable; label one of them again"
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
        for source, dataset, new in zip(sources, datasets, renamed, strict=True):
            factor = factors.get(Path(source), 1.0)
            for k, structure in enumerate(dataset.structures()):
                yield replace(
                    structure,
                    molecule_id=new[int(dataset.molecule_id[k])],
                    weight=factor * structure.weight,
                    smiles=None,
                    split=None,
                )

    kinds = list(dict.fromkeys(kind for dataset in datasets for kind in dataset.kinds))
    licenses = list(dict.fromkeys(dataset.license for dataset in datasets if dataset.license))
    with one_writer(Path(output)):
        n_structures = write_dataset(
            output,
            structures(),
            teacher=next((each.teacher for each in datasets if _of_molecules(each) != each.teacher), first.teacher),
            kinds=kinds,
            smiles=smiles if table else None,
            created={
                "command": "merge",
                "sources": [
                    {
                        "name": dataset.path.name,
                        "sha256": dataset.sha256(),
                        "weight": factors.get(Path(source), 1.0),
                        "created": dataset.created,
                    }
                    for source, dataset in zip(sources, datasets, strict=True)
                ],
            },
            license="; ".join(licenses),
        )
    for dataset in datasets:
        dataset.close()
    return n_structures


def _check_apart(datasets: Sequence[Dataset], output: Path) -> None:
    """Check that no set is given twice, under whatever name, and that the output is not one of the sets."""
    seen: dict[Path, Path] = {}
    for dataset in datasets:
        before = seen.setdefault(dataset.path.resolve(), dataset.path)
        if before is not dataset.path:
            raise InputError(
                f"{before} and {dataset.path} are the same set, whose structures would count twice; "
                f"give it once, with --weight {dataset.path}=2 to double its weight"
            )
        if output.exists() and output.samefile(dataset.path):
            raise InputError(f"{output} is one of the sets to merge and would be lost; give another name with -o")


def _of_molecules(dataset: Dataset) -> Mapping[str, Any]:
    """Return the lineage of the teacher that gives the energies of single molecules."""
    inside = dataset.teacher.get("settings", {}).get("inside")
    return inside if isinstance(inside, Mapping) else dataset.teacher


def _name(dataset: Dataset) -> str:
    return str(dataset.teacher.get("name", "unknown")) if dataset.is_labelled else "none"
