"""The example structures of :mod:`mlff_core.structures.examples`, beside the contracts that run on them."""

from __future__ import annotations

from mlff_core.structures.examples import (
    all_structures,
    cluster,
    ethanol,
    molecule_in_dummy_cell,
    moved_by_lattice_vectors,
    one_atom,
    permuted,
    slab,
    small_cell,
    to_batch,
    triclinic_crystal,
)

__all__ = [
    "all_structures",
    "cluster",
    "ethanol",
    "molecule_in_dummy_cell",
    "moved_by_lattice_vectors",
    "one_atom",
    "permuted",
    "slab",
    "small_cell",
    "to_batch",
    "triclinic_crystal",
]
