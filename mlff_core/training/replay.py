"""Batches of two data sets joined, so that a fine-tuned model keeps its accuracy on the old data."""

from __future__ import annotations

import torch
from torch import Tensor

from mlff_core.data.hessian_rows import HessianRows
from mlff_core.data.loader import TrainingBatch
from mlff_core.data.structure import LabelledBatch
from mlff_core.structures.batch import concatenate
from mlff_core.structures.neighbors import EdgeList


def merged(own: TrainingBatch, replay: TrainingBatch, weight: float) -> TrainingBatch:
    """Return one batch of both, with the weights of the structures of ``replay`` multiplied by ``weight``.

    Labels that only one of the two has are left out, except stresses if the other has no periodic structures.
    """
    first, second = own.labels, replay.labels

    def both(name: str) -> Tensor | None:
        values = [getattr(first, name), getattr(second, name)]
        return None if any(value is None for value in values) else torch.cat(values)

    weights = [
        torch.ones(labels.batch.n_systems, dtype=labels.batch.dtype) if labels.weight is None else labels.weight
        for labels in (first, second)
    ]
    labels = LabelledBatch(
        batch=concatenate([first.batch, second.batch]),
        energy=torch.cat([first.energy, second.energy]),
        forces=torch.cat([first.forces, second.forces]),
        index=torch.cat([first.index, second.index]),
        stress=_stresses(first, second),
        weight=torch.cat([weights[0], weight * weights[1]]),
        atom_energies=both("atom_energies"),
        charges=both("charges"),
        dipole=both("dipole"),
        hessian=_joined(first, second),
    )
    offset = first.batch.n_atoms
    edges = EdgeList(
        torch.cat([own.edges.centers, replay.edges.centers + offset]),
        torch.cat([own.edges.neighbors, replay.edges.neighbors + offset]),
        torch.cat([own.edges.cell_shifts, replay.edges.cell_shifts]),
    )
    return TrainingBatch(labels, edges, own.position)


def _stresses(first: LabelledBatch, second: LabelledBatch) -> Tensor | None:
    """Return the stresses of both, shape (n_systems, 3, 3), eV/Å³; a loss uses those of periodic structures only."""
    if first.stress is None and second.stress is None:
        return None
    parts = []
    for labels in (first, second):
        if labels.stress is None and bool(labels.batch.pbc.any()):
            return None
        parts.append(torch.zeros_like(labels.batch.cell) if labels.stress is None else labels.stress)
    return torch.cat(parts)


def _joined(first: LabelledBatch, second: LabelledBatch) -> HessianRows | None:
    """Return the rows of Hessians of both; one of the two may have none, as a structure may have none."""
    n_systems = first.batch.n_systems
    found = [
        HessianRows(labels.hessian.system + shift, labels.hessian.direction, labels.hessian.product)
        for labels, shift in ((first, 0), (second, n_systems))
        if labels.hessian is not None
    ]
    if not found:
        return None
    return HessianRows(*(torch.cat([getattr(r, n) for r in found]) for n in ("system", "direction", "product")))
