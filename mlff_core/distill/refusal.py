"""What happens to a loss that is not finite: the batch is saved, and the run ends."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from mlff_core.checkpoint import write_by_rename
from mlff_core.data.structure import LabelledBatch
from mlff_core.errors import InputError


def refuse(labels: LabelledBatch, values: dict[str, float], step: int, out: Path, rank: int) -> NoReturn:
    """Save a batch whose loss or gradient is not finite as a dict of tensors, and end the run.

    Parameters
    ----------
    labels
        The batch.
    values
        Loss and terms.
    step
        The step it was met at.
    out
        Folder of the run.
    rank
        Of this process: each saves its share.

    Raises
    ------
    InputError
        Always.
    """
    path = out / f"bad_batch{rank or ''}.pt"
    content = {}
    for owner, names in (
        (labels.batch, ("positions", "atomic_numbers", "cell", "pbc", "system_idx")),
        (labels, ("energy", "forces", "stress", "weight", "atom_energies", "index")),
    ):
        for name in names:
            tensor = getattr(owner, name)
            if tensor is not None:
                content[name] = tensor.cpu()
    write_by_rename(path, content)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    raise InputError(
        f"loss and gradient must be finite, got {shown} at step {step} of {out}; the batch (structures "
        f"{labels.index.tolist()[:8]} …) is in {path.name}: look at its labels, or lower optimizer.lr"
    )
