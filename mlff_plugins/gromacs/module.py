"""The module that GROMACS's NNPot interface runs; it includes units, neighbour search and checks of the input.

No postponed annotations and no unions with | here, since TorchScript reads the annotations.
"""

from typing import List, Optional, Tuple  # noqa: UP035 - TorchScript

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from mlff_core.card import ModelCard
from mlff_core.kernels.fused_modules import FusedStudent
from mlff_core.model.scripted import ScriptedStudent
from mlff_core.model.student import Student
from mlff_core.potentials.checks import ODD_ADVICE
from mlff_core.units import ANGSTROM_PER_NM, KJ_MOL_PER_EV

SKIN = 1.0
"""Å, of the neighbour list."""


class NNPotModule(nn.Module):
    """Energy, kJ/mol, of the structure that mdrun passes at each step; mdrun differentiates the energy itself.

    Parameters
    ----------
    model
        The network.
    card
        Of the model.
    fused
        Whether the CPU kernel computes, as one operator, instead of torch's operations.

    Raises
    ------
    UnsupportedError
        A term, or with ``fused`` the architecture, is not supported.
    """

    species_of_number: Tensor
    checked: Tensor
    symbols: List[str]  # noqa: UP006
    known: List[str]  # noqa: UP006

    def __init__(self, model: Student, card: ModelCard, fused: bool = False) -> None:
        super().__init__()
        self.student = FusedStudent(model, SKIN) if fused else ScriptedStudent(model, SKIN)
        self.register_buffer("species_of_number", model.species_of_number.clone())
        # The numbers of the last call that passed the checks; mdrun passes the same ones at every step.
        self.register_buffer("checked", torch.zeros(0, dtype=torch.int64))
        self.name = card.name
        self.known = list(card.symbols)
        self.closed_shell = card.is_even_without_charge
        self.advice = ODD_ADVICE
        self.symbols = list(chemical_symbols)
        self.length = ANGSTROM_PER_NM
        self.energy = KJ_MOL_PER_EV
        self.reach = model.cutoff + SKIN

    def forward(
        self,
        positions: Tensor,
        atomic_numbers: Tensor,
        box: Optional[Tensor] = None,  # noqa: UP045
        pbc: Optional[Tensor] = None,  # noqa: UP045
    ) -> Tensor:
        """Return the energy, one number, kJ/mol, float64, differentiable in the positions.

        Parameters
        ----------
        positions
            ``atom-positions``: shape (n_atoms, 3), nm.
        atomic_numbers
            ``atom-numbers``: shape (n_atoms,).
        box
            ``box``: shape (3, 3), nm, rows are box vectors.
        pbc
            ``pbc``: shape (3,), bool, along all three box vectors or along the first two.
        """
        numbers, at, cell, periodic = self.prepared(positions, atomic_numbers, box, pbc)
        energy: Tensor = self.student(numbers, at, cell, periodic)
        return energy * self.energy

    def prepared(
        self,
        positions: Tensor,
        atomic_numbers: Tensor,
        box: Optional[Tensor],  # noqa: UP045
        pbc: Optional[Tensor],  # noqa: UP045
    ) -> Tuple[Tensor, Tensor, Tensor, bool]:  # noqa: UP006
        """Return numbers (n_atoms,), positions (n_atoms, 3), Å, cell (3, 3), Å, and whether it is periodic, checked.

        The arguments are those of :meth:`forward`: ``positions`` (n_atoms, 3) and ``box`` (3, 3) in nm,
        ``atomic_numbers`` (n_atoms,), ``pbc`` (3,).
        """
        numbers = atomic_numbers.to(torch.int64)
        at = positions.to(torch.float64) * self.length
        cell = torch.zeros(3, 3, dtype=torch.float64, device=at.device)
        periodic = False
        if box is not None:
            if pbc is None:
                raise RuntimeError("box came without pbc; give nnpot-model-input3 = box and nnpot-model-input4 = pbc")
            if not bool(pbc[0]) or not bool(pbc[1]):
                raise RuntimeError(
                    f"pbc must be xyz or xy, got {pbc}; without periodic boundaries give two inputs only"
                )
            # With a hundred or more trial atoms some lie on images of others; their results are not used.
            periodic = not self.is_trial(at)
            cell = box.to(torch.float64) * self.length
            if not bool(pbc[2]):
                cell = self.without_images(cell, at)
        if not torch.equal(numbers, self.checked):
            self.check_elements(numbers)
            self.check_electrons(numbers, at)
            # Some trial atoms pass with an odd number of electrons, which other positions would not.
            passed = not self.closed_shell or int(numbers.sum()) % 2 == 0
            self.checked = numbers.clone() if passed else numbers[:0].clone()
        return numbers, at, cell, periodic

    def check_elements(self, numbers: Tensor) -> None:
        """Refuse elements that the model does not know, given their numbers, shape (n_atoms,)."""
        within = numbers.clamp(0, 118)
        unknown = (self.species_of_number.index_select(0, within) < 0) | (within != numbers)
        if bool(unknown.any()):
            names: List[str] = []  # noqa: UP006
            for z in torch.unique(numbers[unknown]):
                k = int(z)
                names.append(self.symbols[k] if k > 0 and k < len(self.symbols) else str(k))
            raise RuntimeError(
                f"{self.name} does not know {', '.join(names)}; it was made for {' '.join(self.known)}. "
                "Use a model made for these elements"
            )

    def check_electrons(self, numbers: Tensor, positions: Tensor) -> None:
        """Refuse an odd number of electrons, except in the atoms with which grompp tries a file.

        Parameters
        ----------
        numbers
            Atomic numbers, shape (n_atoms,), int64.
        positions
            Shape (n_atoms, 3), Å.
        """
        n_electrons = int(numbers.sum())
        if not self.closed_shell or n_electrons % 2 == 0 or self.is_trial(positions):
            return
        # grompp 2025 tries one atom at the origin.
        if positions.shape[0] == 1 and bool((positions == 0).all()):
            return
        raise RuntimeError(
            f"{self.name} was made for closed shells, but at a total charge of +0 e the structure has {n_electrons} "
            f"electrons, an odd number; {self.advice}"
        )

    def is_trial(self, positions: Tensor) -> bool:
        """Return whether these positions, shape (n_atoms, 3), Å, are the trial atoms with which grompp tests a file.

        They lie at (k, 2k, 3k) · 0.1 Å, so two neighbours are closer than nuclei in any real structure.
        """
        # Looked at at every step, so one number first.
        if positions.shape[0] > 0 and abs(float(positions[0, 0]) - 0.1) > 1e-3:
            return False
        k = torch.arange(1, positions.shape[0] + 1, dtype=torch.float64, device=positions.device)
        row = 0.1 * torch.stack([k, 2.0 * k, 3.0 * k], dim=1)
        return bool(torch.isclose(positions, row, rtol=1e-6, atol=1e-6).all())

    def without_images(self, cell: Tensor, positions: Tensor) -> Tensor:
        """Return the cell with a third vector that is perpendicular and so long that no atom has neighbours along it.

        Parameters
        ----------
        cell
            Shape (3, 3), Å, rows are box vectors.
        positions
            Shape (n_atoms, 3), Å.
        """
        normal = torch.linalg.cross(cell[0], cell[1])
        normal = normal / normal.norm()
        height = positions.detach() @ normal
        least = float(height.max() - height.min()) + self.reach
        # Rounded up to steps, so that the cell, and with it the neighbour list, does not change at every move.
        longer: Tensor = normal * (10.0 * (float(int(least / 10.0)) + 1.0))
        return torch.stack([cell[0], cell[1], longer])
