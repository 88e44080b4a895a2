"""Error for a loss that is not finite: the batch is saved, and the run ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from mlff_core.data.loader import TrainingBatch
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledBatch
from mlff_core.errors import InputError
from mlff_core.model.student import Student
from mlff_core.models.checkpoint import write_by_rename
from mlff_core.training.loss import errors
from mlff_core.training.monitor import outputs_for

ORDINARY = 1e6
"""Largest energy, eV, and component of a force, eV/Å, that labels of a real structure have."""


def is_ordinary(labels: LabelledBatch) -> bool:
    """Return whether all energies and forces of a batch have a usual size, so that its labels are not wrong."""
    return all(bool((values.abs() < ORDINARY).all()) for values in (labels.energy, labels.forces))


def suspect(model: Student, item: TrainingBatch, datasets: Sequence[Dataset]) -> str:
    """Return which structure of a batch is furthest from its labels in energy or forces, as "structure 7 of set.h5".

    Empty if the errors of all structures are not finite: the weights are broken, not a label.

    Parameters
    ----------
    model
        The network, on the device of the batch.
    item
        A batch whose loss or gradient is not finite.
    datasets
        Data sets from which its structures are.
    """
    labels = item.labels
    found = errors(outputs_for(model, item), labels)
    with torch.no_grad():
        energy, forces = (found[name][0].double().abs().nan_to_num(nan=torch.inf) for name in ("energy", "forces"))
        largest = energy.scatter_reduce(0, labels.batch.system_idx, forces.amax(dim=1), "amax")
    if bool(torch.isinf(largest).all()):
        return ""
    where = " or ".join(str(dataset.path) for dataset in datasets)
    return f"structure {int(labels.index[largest.argmax()])} of {where}"


def refuse(
    labels: LabelledBatch, values: dict[str, float], step: int, out: Path, rank: int, worst: str = ""
) -> NoReturn:
    """Save a batch whose loss or gradient is not finite as a dict of tensors, and end the run.

    The keys are the names in :class:`~mlff_core.structures.batch.AtomicBatch` and in
    :class:`~mlff_core.data.structure.LabelledBatch`, and for rows of Hessians ``hessian_system``,
    ``hessian_direction`` and ``hessian_product``.

    Parameters
    ----------
    labels
        The batch.
    values
        Loss and terms.
    step
        Number of the step.
    out
        Folder of the run.
    rank
        Number of this process; each saves its share.
    worst
        The structure to check first, if one is known.

    Raises
    ------
    InputError
        Always.
    """
    path = out / f"bad_batch{rank or ''}.pt"
    content = {}
    for owner, prefix in ((labels.batch, ""), (labels, ""), (labels.hessian, "hessian_")):
        # All fields, so that labels added later are saved too.
        for each in fields(owner) if owner is not None else ():
            value = getattr(owner, each.name)
            if isinstance(value, Tensor):
                content[prefix + each.name] = value.cpu()
    write_by_rename(path, content)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    raise InputError(
        f"loss and gradient must be finite, got {shown} at step {step} of {out}; the batch (structures "
        f"{labels.index.tolist()[:8]} …) is in {path.name}: check {worst or 'its labels'}, or lower optimizer.lr"
    )
