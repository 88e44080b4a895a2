"""Parts of a batch whose energies are computed without the rest: what bounds the memory of large systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList

FEWEST = 256
"""Atoms that are not shared out further: around fewer, nearly all of the work is at atoms that are only seen."""
PER_ATOM = ("atom_energies", "forces")
"""Outputs of which every atom has its own; of the others every structure has."""

Outputs = Mapping[str, "Tensor | None"]


class Part(NamedTuple):
    """Some atoms of a batch, those first whose energies are wanted, with all that these depend on.

    Attributes
    ----------
    atoms
        Where they are in the batch, shape (n_part,), no unit.
    edges
        Between them, by their places in the part.
    edge_places
        Where these are in the edges of the batch, shape (n_part_edges,), no unit.
    n_centers
        How many of the atoms each layer sends messages to, shape (n_layers,), no unit; the last are the wanted ones.
    """

    atoms: Tensor
    edges: EdgeList
    edge_places: Tensor
    n_centers: Tensor


def cut_out(n_atoms: int, edges: EdgeList, wanted: Tensor, n_layers: int) -> Part:
    """Return the part of a batch that the energies of some atoms depend on.

    An energy depends on the atoms that ``n_layers`` edges lead to. Those that k edges lead to need messages in all
    layers but the last k.

    Parameters
    ----------
    n_atoms
        Of the batch.
    edges
        Of the batch.
    wanted
        Places of the atoms, shape (n_wanted,), no unit.
    n_layers
        Of the network.
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
    # Every pair in both directions; pairs of atoms that send nothing are of no use.
    ends = steps[edges.centers], steps[edges.neighbors]
    kept = ((torch.minimum(*ends) < n_layers) & (torch.maximum(*ends) <= n_layers)).nonzero().squeeze(1)
    centers = places[edges.centers[kept]]
    order = centers.argsort(stable=True)
    kept = kept[order]
    part = EdgeList(centers[order], places[edges.neighbors[kept]], edges.cell_shifts[kept])
    return Part(atoms, part, kept, counts[:n_layers].flip(0).contiguous())


def part_batch(batch: AtomicBatch, part: Part) -> AtomicBatch:
    """Return the part's atoms in the cells of the batch."""
    return AtomicBatch(
        positions=batch.positions.detach()[part.atoms],
        atomic_numbers=batch.atomic_numbers[part.atoms],
        cell=batch.cell.detach(),
        pbc=batch.pbc,
        system_idx=batch.system_idx[part.atoms],
    )


def halves(batch: AtomicBatch, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the atoms in two halves: whole systems, or the two sides of a plane where there is one system.

    Parameters
    ----------
    batch
        The structures.
    atoms
        Places of some of its atoms, shape (n_some,), no unit.
    """
    middle = len(atoms) // 2
    systems = batch.system_idx[atoms]
    if systems.min() < systems.max():
        order = systems.argsort(stable=True)
    else:
        order = _along_longest(batch, atoms, int(systems[0])).argsort()
    return atoms[order[:middle]], atoms[order[middle:]]


def _along_longest(batch: AtomicBatch, atoms: Tensor, system: int) -> Tensor:
    """Return where the atoms are along the direction in which they reach farthest, shape (n_some,), Å."""
    positions = batch.positions.detach()[atoms].double()
    cell, periodic = batch.cell.detach()[system].double(), batch.pbc[system]
    if bool(periodic.all()):
        # Atoms that have left the cell are neighbours of those inside.
        # Not torch's inverse, which hangs in a forked process whose parent has used threads.
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
        Of the network.
    outputs
        Those of ``evaluate``, for the whole batch.
    fits
        Whether so many atoms and edges can be evaluated at once.
    evaluate
        Called with the batch, its edges, ``part`` and the part's outputs, which it fills.
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
