"""Check that the data have the labels that the terms of a loss need, before a run begins."""

from __future__ import annotations

from collections.abc import Sequence

from mlff_core.data.reader import Dataset
from mlff_core.errors import InputError
from mlff_core.training.loss import LossConfig

_NEEDED = (
    ("stress", "stress", any),
    ("atom_energies", "atom_energies", all),
    ("hessian", "hessian", any),
    ("charges", "charges", all),
    ("total_charge", "charges", all),
    ("dipole", "dipole", all),
)
"""Term of the loss, its labels, and whether all data sets or any must have them."""


def check_labels(config: LossConfig, datasets: Sequence[Dataset]) -> None:
    """Refuse a term of the loss for which no structure has labels; it would be left out without a message.

    Parameters
    ----------
    config
        The loss.
    datasets
        The data sets of the training: the data set, and the one that is replayed if there is one. Atomic energies,
        charges and dipoles are read if all of them have them, stresses and rows of Hessians if one of them does.

    Raises
    ------
    InputError
        The labels are missing.
    """
    for term, label, enough in _NEEDED:
        weight = getattr(config, f"{term}_weight")
        if weight > 0 and not enough(dataset.has(label) for dataset in datasets):
            lacking = ", ".join(str(dataset.path) for dataset in datasets if not dataset.has(label))
            raise InputError(
                f"loss.{term}_weight = {weight:g}, but {lacking} has no such labels (`mlff data info` shows what it "
                f"has); label it with them, or set loss.{term}_weight = 0"
            )
