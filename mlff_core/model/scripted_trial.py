"""Trial steps of optimisers in TorchScript; :mod:`mlff_core.potentials.trial` describes them.

No postponed annotations here: TorchScript reads them.
"""

import torch
from torch import Tensor, nn

from mlff_core.structures.neighbors import JUMP, NUCLEUS, OVERLAP, SAME_STEP
from mlff_core.units import COULOMB_EV_ANGSTROM


class ScriptedTrial(nn.Module):
    """Holds the last structure without overlaps, its energy, and the last structure if it was a trial step."""

    good: Tensor
    good_energy: Tensor
    last_trial: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.jump = JUMP
        self.same_step = SAME_STEP
        self.nucleus = NUCLEUS
        self.overlap = OVERLAP
        self.coulomb = COULOMB_EV_ANGSTROM
        self.register_buffer("good", torch.zeros(0, 3, dtype=torch.float64))
        self.register_buffer("good_energy", torch.zeros((), dtype=torch.float64))
        self.register_buffer("last_trial", torch.zeros(0, 3, dtype=torch.float64))

    def begins_or_goes_on(self, positions: Tensor) -> bool:
        """Return whether overlapping atoms at (n_atoms, 3), Å, are a trial step, and record them if so."""
        trial = False
        if self.last_trial.shape[0] == positions.shape[0]:
            trial = not self.goes_on(positions)
        elif self.good.shape[0] == positions.shape[0]:
            trial = bool((positions - self.good).square().sum(dim=1).max() > self.jump**2)
        self.last_trial = positions.clone() if trial else positions[:0].clone()
        return trial

    def went_through(self, positions: Tensor) -> bool:
        """Return whether the run came from overlapping atoms to these positions (n_atoms, 3), Å, as dynamics does."""
        went = False
        if self.last_trial.shape[0] == positions.shape[0]:
            went = self.goes_on(positions)
            self.last_trial = positions[:0].clone()
        return went

    def goes_on(self, positions: Tensor) -> bool:
        """Return whether most atoms repeated, from the trial to (n_atoms, 3), Å, the step that led to the trial."""
        before, after = self.last_trial - self.good, positions - self.last_trial
        same = (after - before).square().sum(dim=1) < self.same_step**2 * before.square().sum(dim=1)
        jumped = bool(after.square().sum(dim=1).max() > self.jump**2)
        return jumped and bool(same.to(torch.float64).mean() > 0.5)

    def passed(self, positions: Tensor, energy: Tensor) -> None:
        """Record a structure without overlaps.

        Parameters
        ----------
        positions
            Shape (n_atoms, 3), Å.
        energy
            Energy of the structure, one number, eV.
        """
        self.good = positions.clone()
        self.good_energy = energy.clone()

    def forward(self, squared: Tensor, atomic_numbers: Tensor, centers: Tensor, neighbors: Tensor) -> Tensor:
        """Return the energy of a trial step, one number, eV.

        Parameters
        ----------
        squared
            Squared distances of all edges, shape (n_edges,), Å².
        atomic_numbers
            Shape (n_atoms,), int64.
        centers, neighbors
            Shape (n_edges,), int64.
        """
        near = (squared < self.overlap**2).nonzero().squeeze(1)
        r2 = squared.index_select(0, near)
        numbers = atomic_numbers.to(torch.float64)
        charges = numbers.index_select(0, centers.index_select(0, near))
        charges = 0.5 * self.coulomb * charges * numbers.index_select(0, neighbors.index_select(0, near))
        outside = 1.0 / torch.clamp(r2, min=self.nucleus**2).sqrt()
        inside = 1.5 / self.nucleus - 0.5 * r2 / self.nucleus**3
        repulsion: Tensor = (charges * torch.where(r2 < self.nucleus**2, inside, outside)).sum()
        return repulsion + self.good_energy
