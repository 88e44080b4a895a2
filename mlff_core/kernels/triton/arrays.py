"""Inputs and outputs of a step on the GPU, and the division of its work."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mlff_core.kernels.triton.launch import interpreted, next_power_of_2


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the message kernels divide their work; results depend on it only in their last digits."""

    edges: int = 16
    """Edges of one tile, a power of two."""
    channels: int = 64
    """Channels of one program, a power of two, at least 16."""
    atoms: int = 1
    """Number of atoms that one program processes one after the other, so that it reads the filters' weights only
    once."""
    warps: int = 4
    """Warps of one program."""

    @classmethod
    def suitable(cls, n_atoms: int, hidden: int) -> Tiling:
        """Return narrow programs for few atoms, which would otherwise leave the GPU idle, and wide ones for many."""
        width = next_power_of_2(hidden)
        if interpreted():
            return cls(edges=64, channels=width)  # an operation of the interpreter costs the same for any size
        if n_atoms <= 512:
            return cls(channels=min(width, 32))
        return cls(channels=width, atoms=4, warps=4 if width <= 64 else 8)


@dataclass(frozen=True, slots=True)
class PaddedInputs:
    """Inputs of a step; every tensor keeps its shape and its memory from step to step."""

    positions: Tensor
    """Positions of the atoms, shape (n_atoms, 3), Å."""
    cell: Tensor
    """Cells, shape (n_systems, 3, 3), Å, with lattice vectors as rows."""
    species: Tensor
    """Species index of each atom, shape (n_atoms,)."""
    system_idx: Tensor
    """Shape (n_atoms,), int64, non-decreasing."""
    candidates: Tensor
    """Neighbours, also some beyond the cutoff, shape (n_atoms, capacity), int32."""
    shifts: Tensor
    """Cell shifts packed into one number, shape (n_atoms, capacity), int64."""
    reverse: Tensor
    """The slot of the neighbour that holds the same pair, shape (n_atoms, capacity), int32."""
    n_candidates: Tensor
    """Number of slots in use, shape (n_atoms,), int32."""
    largest: int
    """Number of atoms of the largest system, or a larger number."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of a step."""

    energy: Tensor
    """Shape (n_systems,), eV, float64."""
    atom_energies: Tensor
    """Shape (n_atoms,), eV, float64."""
    closest: Tensor
    """The smallest squared distance to a neighbour, shape (n_atoms,), Å²; 0 if a distance is NaN."""
    forces: Tensor | None
    """Shape (n_atoms, 3), eV/Å, or None."""
    virial: Tensor | None
    """−dE/d(strain), shape (n_systems, 3, 3), eV, float64, or None."""
    charges: Tensor | None
    """Shape (n_atoms,), e, or None."""
