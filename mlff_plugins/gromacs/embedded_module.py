"""The module of NNPot with electrostatic embedding: the point charges of the rest act on the student's charges.

No postponed annotations and no unions with | here, since TorchScript reads the annotations.
"""

from typing import Optional, Tuple  # noqa: UP035 - TorchScript

import torch
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.model.student import Student
from mlff_core.units import COULOMB_EV_ANGSTROM
from mlff_plugins.gromacs.module import NNPotModule


class EmbeddedNNPotModule(NNPotModule):
    """Energy and forces of the structure and the point charges around it that mdrun passes at each step.

    mdrun removes the force field's charges of the model's atoms, so that all of their Coulomb energy with the others
    is Σ_i Σ_j q_i Q_j k (1/r + r²/(2 r_c³) − 3/(2 r_c)) up to the cutoff r_c, at which energy and force vanish. The q_i
    are the student's charges at these positions, shifted alike to the sum ``nnp-charge``.

    Parameters
    ----------
    model
        The network, with a readout of charges.
    card
        Of the model.
    cutoff
        r_c, Å.

    Raises
    ------
    UnsupportedError
        A term is not supported.
    """

    def __init__(self, model: Student, card: ModelCard, cutoff: float) -> None:
        super().__init__(model, card)
        self.cutoff = cutoff
        self.coulomb = COULOMB_EV_ANGSTROM

    def forward(  # type: ignore[override]
        self,
        positions: Tensor,
        atomic_numbers: Tensor,
        positions_mm: Tensor,
        charges_mm: Tensor,
        nnp_charge: Tensor,
        box: Optional[Tensor] = None,  # noqa: UP045
        pbc: Optional[Tensor] = None,  # noqa: UP045
    ) -> Tuple[Tensor, Tensor, Tensor]:  # noqa: UP006
        """Return the energy, one number, kJ/mol, float64, and the forces on atoms and charges, kJ/mol/nm, float32.

        Parameters
        ----------
        positions
            ``atom-positions``: shape (n_atoms, 3), nm.
        atomic_numbers
            ``atom-numbers``: shape (n_atoms,).
        positions_mm
            ``atom-positions-mm``: shape (n_charges, 3), nm.
        charges_mm
            ``atom-charges-mm``: shape (n_charges,), e.
        nnp_charge
            ``nnp-charge``: shape (1,), e.
        box
            ``box``: shape (3, 3), nm, rows are box vectors.
        pbc
            ``pbc``: shape (3,), bool.
        """
        was_enabled = torch.is_grad_enabled()
        torch.set_grad_enabled(True)
        at = positions.detach().clone().requires_grad_(True)
        others = positions_mm.detach().clone().requires_grad_(True)
        numbers, places, cell, periodic = self.prepared(at, atomic_numbers, box, pbc)
        total = nnp_charge.detach().to(torch.float64).reshape(-1)[0]
        # grompp tries the file with the atoms' own places for the charges, and with a single charge.
        given = charges_mm.detach()[:0] if self.is_trial(places) else charges_mm.detach()
        potentials = self.potentials(places, others[: given.shape[0]].to(torch.float64) * self.length, given, box, pbc)
        mean = potentials.mean()
        inner = self.student.in_field(numbers, places, cell, periodic, potentials - mean)  # type: ignore[operator]
        energy = (inner + total * mean) * self.energy
        gradients = torch.autograd.grad([energy], [at, others], allow_unused=True)
        torch.set_grad_enabled(was_enabled)
        on_atoms, on_others = gradients[0], gradients[1]
        forces = torch.zeros_like(positions)
        if on_atoms is not None:
            forces = -on_atoms
        forces_mm = torch.zeros_like(positions_mm)
        if on_others is not None:
            forces_mm = -on_others
        return energy.detach(), forces.detach(), forces_mm.detach()

    def potentials(
        self,
        atoms: Tensor,
        others: Tensor,
        charges: Tensor,
        box: Optional[Tensor],  # noqa: UP045
        pbc: Optional[Tensor],  # noqa: UP045
    ) -> Tensor:
        """Return the potential of the point charges at each atom, shape (n_atoms,), eV/e, differentiable in both.

        Parameters
        ----------
        atoms, others
            Shape (n_atoms, 3) and (n_charges, 3), Å.
        charges
            Shape (n_charges,), e.
        box
            As in :meth:`forward`, shape (3, 3), nm; its nearest images count.
        pbc
            As in :meth:`forward`, shape (3,).
        """
        vectors = others.unsqueeze(0) - atoms.unsqueeze(1)
        if box is not None and pbc is not None:
            cell = box.to(torch.float64) * self.length
            for k in range(2, -1, -1):
                if bool(pbc[k]):
                    shifts = torch.round(vectors[:, :, k] / cell[k, k])
                    vectors = vectors - shifts.unsqueeze(2) * cell[k]
        squared = vectors.square().sum(dim=2)
        c = self.cutoff
        terms = squared.rsqrt() + squared / (2.0 * c**3) - 1.5 / c
        near = torch.where(squared < c**2, terms, torch.zeros_like(terms))
        found: Tensor = near @ charges.to(torch.float64) * self.coulomb
        return found
