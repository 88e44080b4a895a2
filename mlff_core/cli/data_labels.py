"""The line about labels that commands print after writing a data set."""

from __future__ import annotations

from pathlib import Path


def labels_of(path: Path) -> dict[str, int]:
    """Return how many structures of the file have each label."""
    from mlff_core.data.reader import Dataset
    from mlff_core.data.summary import label_counts

    with Dataset(path) as dataset:
        return label_counts(dataset)


def labelled_with(path: Path) -> str:
    """Return a sentence with the number of structures that have each label."""
    counts = labels_of(path)
    if not counts:
        return "not labelled"
    return "labelled with " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
