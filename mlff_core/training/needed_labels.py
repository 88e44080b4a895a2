"""The labels that the terms of a loss need, looked for before a run begins."""

from __future__ import annotations

from collections.abc import Sequence

from mlff_core.data.reader import Dataset
from mlff_core.errors import InputError
from mlff_core.training.loss import LossConfig


def check_labels(config: LossConfig, datasets: Sequence[Dataset]) -> None:
    """Refuse a term that counts in the loss and that no structure has labels for; it would be left out in silence.

    Parameters
    ----------
    config
        The loss.
    datasets
        What is learned from: the data set, and the one that is replayed where there is one. Atomic energies are read
        where all have them, stresses and rows of Hessians where one does.

    Raises
    ------
    InputError
        The labels are missing.
    """
    for name, enough in (("stress", any), ("atom_energies", all), ("hessian", any)):
        weight = getattr(config, f"{name}_weight")
        if weight > 0 and not enough(dataset.has(name) for dataset in datasets):
            lacking = ", ".join(str(dataset.path) for dataset in datasets if not dataset.has(name))
            raise InputError(
                f"loss.{name}_weight = {weight:g}, but {lacking} has no such labels (`mlff data info` shows what it "
                f"has); label it with them, or set loss.{name}_weight = 0"
            )
