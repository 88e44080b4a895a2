"""Structures in groups through a network that takes a batch, and the results put together again."""

from __future__ import annotations

import torch
from torch import Tensor

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.prediction import Prediction


def copied(batch: AtomicBatch) -> AtomicBatch:
    """Return a copy of the batch outside any graph, since tensors of an inference mode allow no gradient."""
    return AtomicBatch(
        positions=batch.positions.detach().clone(),
        atomic_numbers=batch.atomic_numbers.clone(),
        cell=batch.cell.detach().clone(),
        pbc=batch.pbc.clone(),
        system_idx=batch.system_idx.clone(),
        charge=None if batch.charge is None else batch.charge.detach().clone(),
    )


def chunks(n_atoms: list[int], periodic: list[bool], most_atoms: int) -> list[list[int]]:
    """Return groups of structures to evaluate at once: all with a cell or all without, up to ``most_atoms`` atoms."""
    groups: list[list[int]] = []
    for kind in (False, True):
        group: list[int] = []
        for k in (k for k, value in enumerate(periodic) if value is kind):
            if group and sum(n_atoms[j] for j in group) + n_atoms[k] > most_atoms:
                groups.append(group)
                group = []
            group.append(k)
        if group:
            groups.append(group)
    return groups


def by_system(prediction: Prediction, counts: list[int]) -> list[Prediction]:
    """Return one prediction for each structure."""
    forces = [None] * len(counts) if prediction.forces is None else prediction.forces.split(counts)
    atoms = [None] * len(counts) if prediction.atom_energies is None else prediction.atom_energies.split(counts)
    charges = [None] * len(counts) if prediction.charges is None else prediction.charges.split(counts)
    return [
        Prediction(
            energy=prediction.energy[k : k + 1],
            forces=forces[k],
            stress=None if prediction.stress is None else prediction.stress[k : k + 1],
            atom_energies=atoms[k],
            charges=charges[k],
            dipole=None if prediction.dipole is None else prediction.dipole[k : k + 1],
        )
        for k in range(len(counts))
    ]


def joined(predictions: list[Prediction]) -> Prediction:
    """Return the predictions of several structures as one."""

    def cat(name: str) -> Tensor | None:
        values = [getattr(prediction, name) for prediction in predictions]
        return None if values[0] is None else torch.cat(values)

    return Prediction(
        energy=torch.cat([prediction.energy for prediction in predictions]),
        forces=cat("forces"),
        stress=cat("stress"),
        atom_energies=cat("atom_energies"),
        charges=cat("charges"),
        dipole=cat("dipole"),
    )
