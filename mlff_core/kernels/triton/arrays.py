"""What a step on the GPU reads, what it gives, and how it is divided."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mlff_core.kernels.triton.launch import interpreted, next_power_of_2


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the message kernels divide their work; no number depends on it but in its last digits.

    Parameters
    ----------
    edges
        Edges of one tile, a power of two.
    channels
        Channels of one program, a power of two, at least 16.
    atoms
        Atoms one program does after the other, so that its filters' weights are read once.
    warps
        Of one program.
    """

    edges: int = 16
    channels: int = 64
    atoms: int = 1
    warps: int = 4

    @classmethod
    def suitable(cls, n_atoms: int, hidden: int) -> Tiling:
        """Return narrow programs where few atoms would leave the GPU idle, wide ones otherwise."""
        width = next_power_of_2(hidden)
        if interpreted():
            return cls(edges=64, channels=width)  # a step of the interpreter costs the same for any size
        if n_atoms <= 512:
            return cls(channels=min(width, 32))
        return cls(channels=width, atoms=4, warps=4 if width <= 64 else 8)


@dataclass(frozen=True, slots=True)
class PaddedInputs:
    """What a step reads; every tensor keeps its shape and place from step to step.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å.
    cell
        Shape (n_systems, 3, 3), Å, rows are lattice vectors.
    species
        Index of the element, shape (n_atoms,).
    system_idx
        Shape (n_atoms,), int64, non-decreasing.
    candidates
        Neighbours, also those beyond the cutoff, shape (n_atoms, capacity), int32.
    shifts
        Cell shifts packed into one number, shape (n_atoms, capacity), int64.
    reverse
        The slot of the neighbour that holds the same pair, shape (n_atoms, capacity), int32.
    n_candidates
        Slots in use, shape (n_atoms,), int32.
    largest
        Atoms of the largest system, or more.
    """

    positions: Tensor
    cell: Tensor
    species: Tensor
    system_idx: Tensor
    candidates: Tensor
    shifts: Tensor
    reverse: Tensor
    n_candidates: Tensor
    largest: int


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a step gives.

    Parameters
    ----------
    energy
        Shape (n_systems,), eV, float64.
    atom_energies
        Shape (n_atoms,), eV, float64.
    closest
        The least squared distance to a neighbour, shape (n_atoms,), Å²; 0 where something is not a number.
    forces
        Shape (n_atoms, 3), eV/Å, or None.
    virial
        −dE/d(strain), shape (n_systems, 3, 3), eV, float64, or None.
    """

    energy: Tensor
    atom_energies: Tensor
    closest: Tensor
    forces: Tensor | None
    virial: Tensor | None
