"""Parts of a batch that can be evaluated separately, which limits the memory needed for large systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList

FEWEST = 256
"""Number of atoms below which a part is not divided further: nearly all of the work would then be at surrounding atoms
whose energies are not wanted."""
PER_ATOM = ("atom_energies", "charges", "forces")
"""Outputs with one entry for each atom; the other outputs have one for each structure."""

Outputs = Mapping[str, "Tensor | None"]


class Part(NamedTuple):
    """Some atoms of a batch: first those whose energies are wanted, then all others that these energies depend on.

    Attributes
    ----------
    atoms
        Their indices in the batch, shape (n_part,), int64.
    edges
        The edges between them, with indices of the part.
    edge_places
        Indices of these edges among the edges of the batch, shape (n_part_edges,), int64.
    n_centers
        Number of atoms to which each layer sends messages, shape (n_layers,); the last is the number of wanted atoms.
    """

    atoms: Tensor
    edges: EdgeList
    edge_places: Tensor
    n_centers: Tensor


def cut_out(n_atoms: int, edges: EdgeList, wanted: Tensor, n_layers: int) -> Part:
    """Return the part of a batch on which the energies of some atoms depend.

    An energy depends on the atoms that are up to ``n_layers`` edges away. Atoms that are k edges away need messages in
    all layers but the last k.

    Parameters
    ----------
    n_atoms
        Number of atoms of the batch.
    edges
        Edges of the batch.
    wanted
        Indices of the atoms in the batch, shape (n_wanted,), int64.
    n_layers
        Number of layers of the network.
    """
    steps = torch.full((n_atoms,), n_layers + 1)
    steps[wanted] = 0
    for step in range(1, n_layers + 1):
        reached = torch.zeros(n_atoms, dtype=torch.bool)
        reached[edges.neighbors[steps[edges.centers] < step]] = True
        steps[reached & (steps > step)] = step
    counts = torch.bincount(steps, minlength=n_layers + 2).cumsum(0)
    atoms = steps.argsort(stable=True)[: counts[n_layers]]
    places = torch.empty(n_atoms, dtype=torch.int64)
    places[atoms] = torch.arange(len(atoms))
    # Every pair is kept in both directions; pairs of atoms that send no messages are not needed.
    ends = steps[edges.centers], steps[edges.neighbors]
    kept = ((torch.minimum(*ends) < n_layers) & (torch.maximum(*ends) <= n_layers)).nonzero().squeeze(1)
    centers = places[edges.centers[kept]]
    order = centers.argsort(stable=True)
    kept = kept[order]
    part = EdgeList(centers[order], places[edges.neighbors[kept]], edges.cell_shifts[kept])
    return Part(atoms, part, kept, counts[:n_layers].flip(0).contiguous())


def part_batch(batch: AtomicBatch, part: Part) -> AtomicBatch:
    """Return the atoms of a part as a batch, with the cells of the whole batch."""
    return AtomicBatch(
        positions=batch.positions.detach()[part.atoms],
        atomic_numbers=batch.atomic_numbers[part.atoms],
        cell=batch.cell.detach(),
        pbc=batch.pbc,
        system_idx=batch.system_idx[part.atoms],
    )


def halves(batch: AtomicBatch, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the atoms in two halves, divided by systems, or by a plane if they belong to one system.

    Parameters
    ----------
    batch
        The structures.
    atoms
        Indices of some of its atoms, shape (n_some,), int64.
    """
    middle = len(atoms) // 2
    systems = batch.system_idx[atoms]
    if systems.min() < systems.max():
        order = systems.argsort(stable=True)
    else:
        order = _along_longest(batch, atoms, int(systems[0])).argsort()
    return atoms[order[:middle]], atoms[order[middle:]]


def _along_longest(batch: AtomicBatch, atoms: Tensor, system: int) -> Tensor:
    """Return the coordinates of the atoms along the direction of their largest extent, shape (n_some,), Å."""
    positions = batch.positions.detach()[atoms].double()
    cell, periodic = batch.cell.detach()[system].double(), batch.pbc[system]
    if bool(periodic.all()):
        # Atoms outside the cell are wrapped into it, next to their neighbours.
        # Not torch's inverse: it hangs in a forked process whose parent has used threads.
        places = positions @ torch.from_numpy(np.linalg.inv(cell.numpy()))
        positions = (places - places.floor()) * torch.linalg.norm(cell, dim=1)
    spread = positions.amax(dim=0) - positions.amin(dim=0)
    return positions[:, int(spread.argmax())]


def sum_parts(
    batch: AtomicBatch,
    edges: EdgeList,
    n_layers: int,
    outputs: Outputs,
    fits: Callable[[int, int], bool],
    evaluate: Callable[..., bool],
) -> bool:
    """Fill the outputs with the sums over parts, each of them small enough; return whether any part returned True.

    Parameters
    ----------
    batch, edges
        The structures.
    n_layers
        Number of layers of the network.
    outputs
        The outputs of ``evaluate``, for the whole batch.
    fits
        Called with numbers of atoms and edges; returns whether they can be evaluated at once.
    evaluate
        Called with the batch, its edges, ``part`` and the outputs of the part, which it fills.
    """
    for whole in outputs.values():
        if whole is not None:
            whole.zero_()
    found = False
    waiting = [torch.arange(batch.n_atoms)]
    while waiting:
        wanted = waiting.pop()
        part = cut_out(batch.n_atoms, edges, wanted, n_layers)
        n_part = len(part.atoms)
        if len(wanted) > FEWEST and not fits(n_part, part.edges.n_edges):
            waiting.extend(halves(batch, wanted))
            continue
        own = {
            name: whole.new_empty((n_part, *whole.shape[1:]) if name in PER_ATOM else whole.shape)
            for name, whole in outputs.items()
            if whole is not None
        }
        found = evaluate(batch, edges, part=part, **own) or found
        for name, added in own.items():
            whole = outputs[name]
            if whole is not None and name in PER_ATOM:
                whole.index_add_(0, part.atoms, added)
            elif whole is not None:
                whole += added
    return found
