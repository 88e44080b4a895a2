"""A pair potential with hand-written energy, forces and stress, as a reference for tests."""

from __future__ import annotations

from collections.abc import Collection

import torch
from ase.data import covalent_radii
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.model.charges import ChargeReadout
from mlff_core.model.derivatives import (
    forces_from_edge_gradients,
    sum_over_systems,
    virial_from_edge_gradients,
)
from mlff_core.model.painn import PaiNN
from mlff_core.model.presets import preset
from mlff_core.potentials.checks import check_distances
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction

ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17)
STEEPNESS = 1.8
"""Å⁻¹."""


class PairPotential(Potential):
    """A species-dependent Morse potential that ends smoothly at its cutoff.

    E_i = E0(Z_i) + ½ Σ_j D_ij [(1 − exp(−a (r − R_ij)))² − 1] · u(r/r_c)

    with E0 = −Z eV, D_ij = 0.1 √(Z_i Z_j) eV, R_ij the sum of the covalent radii plus 0.5 Å, a = 1.8 Å⁻¹ and
    u(x) = (1 − x²)³. No automatic differentiation is involved (P. M. Morse, Phys. Rev. 34, 57 (1929),
    doi:10.1103/PhysRev.34.57).

    Parameters
    ----------
    cutoff
        r_c, Å.
    device, dtype
        Device and precision of the computation.
    """

    supports = frozenset({"energy", "forces", "stress", "atom_energies"})
    uses_edges = True

    def __init__(
        self, cutoff: float = 5.0, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.card = ModelCard(
            name="pair-potential",
            elements=ELEMENTS,
            cutoff=cutoff,
            architecture="Morse",
            description="An analytic pair potential with exact derivatives, for tests.",
        )
        numbers = torch.arange(119, dtype=torch.float64)
        radii = torch.tensor([float(covalent_radii[z]) if z < len(covalent_radii) else 1.0 for z in range(119)])
        self._depths = (0.1 * torch.sqrt(numbers[:, None] * numbers[None, :])).to(self.device, dtype)
        self._lengths = (0.5 + (radii[:, None] + radii[None, :]).double()).to(self.device, dtype)

    def pair_energy_and_derivative(
        self, distances: Tensor, z_centers: Tensor, z_neighbors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (energy, eV, and its derivative, eV/Å) of pairs, shape (n_edges,) each.

        Parameters
        ----------
        distances
            Shape (n_edges,), Å.
        z_centers, z_neighbors
            Atomic numbers of both ends, shape (n_edges,).
        """
        depth, length = self._depths[z_centers, z_neighbors], self._lengths[z_centers, z_neighbors]
        decay = torch.exp(-STEEPNESS * (distances - length))
        morse = depth * ((1 - decay) ** 2 - 1)
        morse_derivative = 2 * depth * STEEPNESS * decay * (1 - decay)
        x = (distances / self.card.cutoff).clamp(max=1.0)
        envelope = (1 - x * x) ** 3
        envelope_derivative = -6 * x * (1 - x * x) ** 2 / self.card.cutoff
        return morse * envelope, morse_derivative * envelope + morse * envelope_derivative

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        with torch.no_grad():
            if edges is None:
                edges = find_neighbors(batch, self.card.cutoff)
            vectors = edge_vectors(batch, edges)
            check_distances(batch, edges, vectors)
            distances = torch.linalg.vector_norm(vectors, dim=1)
            numbers = batch.atomic_numbers
            energy, derivative = self.pair_energy_and_derivative(
                distances, numbers[edges.centers], numbers[edges.neighbors]
            )
            # Every pair occurs in both directions, so each edge counts half.
            atom_energies = -numbers.double()
            atom_energies = atom_energies.index_add(0, edges.centers, 0.5 * energy.double())
            gradients = (0.5 * derivative / distances).unsqueeze(1) * vectors
            forces = stress = None
            if "forces" in want:
                forces = forces_from_edge_gradients(gradients, edges.centers, edges.neighbors, batch.n_atoms)
            if "stress" in want:
                virial = virial_from_edge_gradients(
                    vectors, gradients, edges.centers, batch.system_idx, batch.n_systems
                )
                stress = -virial / torch.linalg.det(batch.cell).abs()[:, None, None]
        return Prediction(
            energy=sum_over_systems(atom_energies, batch.system_idx, batch.n_systems),
            forces=forces,
            stress=stress,
            atom_energies=atom_energies if "atom_energies" in want else None,
        )


def small_student(
    *, seed: int = 0, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, kernel: str = "auto"
) -> StudentPotential:
    """Return an untrained student of the smallest preset, the same for the same seed.

    Its reference energies are as large as real ones, thousands of eV for oxygen, so the tests detect an adapter that
    keeps a total energy in float32.
    """
    config = preset("ultra-tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PaiNN(config)
    # Total energies of free atoms grow about as Z^2.4: −14 eV for hydrogen, −2000 eV for oxygen.
    model.reference_energies = -13.6 * torch.tensor(config.elements, dtype=torch.float64) ** 2.4
    card = ModelCard(
        name="small-student",
        elements=config.elements,
        cutoff=config.cutoff,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        description="A student with random weights, for tests.",
    )
    return StudentPotential(model, card, device=device, dtype=dtype, kernel=kernel)


def charged_student(
    *, seed: int = 0, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, kernel: str = "auto"
) -> StudentPotential:
    """Return :func:`small_student` with a readout of charges, untrained as well."""
    student = small_student(seed=seed, dtype=dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        readout = ChargeReadout(student.model.n_features)
    student.model.charges = readout.to(dtype).requires_grad_(False)
    return StudentPotential(student.model, student.card, device=device, dtype=dtype, kernel=kernel)
