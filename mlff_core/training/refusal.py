"""Error for a loss that is not finite: the batch is saved, and the run ends."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from mlff_core.data.structure import LabelledBatch
from mlff_core.errors import InputError
from mlff_core.models.checkpoint import write_by_rename


def refuse(labels: LabelledBatch, values: dict[str, float], step: int, out: Path, rank: int) -> NoReturn:
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
        f"{labels.index.tolist()[:8]} …) is in {path.name}: look at its labels, or lower optimizer.lr"
    )
