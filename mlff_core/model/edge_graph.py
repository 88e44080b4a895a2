"""The student as one function of tensors: what exporters write into files of other formats.

No postponed annotations here: TorchScript reads them.
"""

import torch
from torch import Tensor, nn

from mlff_core.model.painn import PaiNN


class EdgeGraph(nn.Module):
    """Energy, atom energies, forces and virial from edge vectors, gradient included.

    Scriptable by ``torch.jit.script``; the host searches neighbours, subtracts positions, and calls with gradients
    enabled (TorchScript has no ``enable_grad`` of its own).

    Parameters
    ----------
    model
        The network.
    """

    def __init__(self, model: PaiNN) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (energy, atom_energies, forces, virial).

        Parameters
        ----------
        atomic_numbers
            Shape (n_atoms,), int64, no unit.
        edge_vectors
            From centre to neighbour, shape (n_edges, 3), Å.
        centers, neighbors
            Shape (n_edges,), int64, no unit.
        system_idx
            Shape (n_atoms,), int64, non-decreasing from 0, no unit.

        Returns
        -------
        tuple
            energy (n_systems,) eV float64; atom_energies (n_atoms,) eV float64; forces (n_atoms, 3) eV/Å;
            virial −dE/d(strain) (n_systems, 3, 3) eV.
        """
        n_atoms = atomic_numbers.shape[0]
        n_systems = int(system_idx.max()) + 1
        vectors = edge_vectors.detach().requires_grad_(True)
        atom_energies = self.model(atomic_numbers, vectors, centers, neighbors)
        total = atom_energies.sum()
        gradients = torch.zeros_like(vectors)
        if total.requires_grad and vectors.shape[0] > 0:
            found = torch.autograd.grad([total], [vectors])[0]
            if found is not None:
                gradients = found
        atom_energies = atom_energies.detach()
        energy = torch.zeros(n_systems, dtype=atom_energies.dtype, device=atom_energies.device)
        energy = energy.index_add(0, system_idx, atom_energies)
        forces = torch.zeros(n_atoms, 3, dtype=vectors.dtype, device=vectors.device)
        forces = forces.index_add(0, centers, gradients).index_add(0, neighbors, -gradients)
        outer = edge_vectors.unsqueeze(2) * gradients.unsqueeze(1)
        virial = torch.zeros(n_systems, 3, 3, dtype=vectors.dtype, device=vectors.device)
        virial = -virial.index_add(0, system_idx[centers], outer)
        return energy, atom_energies, forces, virial
