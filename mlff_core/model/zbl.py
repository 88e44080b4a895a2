"""A fixed short-range repulsion that keeps atoms apart at distances without training data."""

from typing import TYPE_CHECKING, Any

import torch
from ase.data import covalent_radii
from torch import Tensor

from mlff_core.model.radial import polynomial_envelope
from mlff_core.model.term import Term
from mlff_core.units import ANGSTROM_PER_BOHR, COULOMB_EV_ANGSTROM

if TYPE_CHECKING:
    from mlff_core.model.term import StudentConfig

MIN_RANGE = 1.0
"""Smallest range of the repulsion of any pair, Å."""


class ZBLRepulsion(Term):
    """Screened nuclear repulsion, switched off smoothly at the length of a covalent bond.

    E_ij = (e²/4πε₀) Z_i Z_j / r · φ(r/a) · u(r/r_max), a = 0.8854 a₀ / (Z_i^0.23 + Z_j^0.23), φ the universal
    screening function of J. F. Ziegler, J. P. Biersack, U. Littmark, *The Stopping and Range of Ions in Matter* (1985),
    u the :func:`~mlff_core.model.radial.polynomial_envelope`. r_max is the sum of the covalent radii, but at least
    1 Å, so that two hydrogen atoms (0.62 Å) are kept apart too, and at most the cutoff, beyond which there are no
    edges. It has no trainable parameter.

    Parameters
    ----------
    elements
        Atomic numbers in the order of the species index.
    cutoff
        Longest edge of the model, Å.
    """

    inverse_screening: Tensor
    inverse_ranges: Tensor
    prefactors: Tensor

    name = "zbl"

    def __init__(self, elements: tuple[int, ...], cutoff: float) -> None:
        super().__init__(cutoff)
        self.elements = elements
        self.set_constants()

    @classmethod
    def make(cls, config: "StudentConfig", **options: Any) -> "ZBLRepulsion":
        """Return the repulsion between a student's elements, within its network's cutoff; it has no options."""
        return cls(config.elements, config.cutoff, **options)

    def constants(self) -> dict[str, Tensor]:
        """Return 1/a, 1/r_max (Å⁻¹) and ½ (e²/4πε₀) Z_i Z_j (eV Å) of each pair, shape (n_elements, n_elements)."""
        numbers = torch.tensor(self.elements, dtype=torch.float64)
        radii = torch.tensor([float(covalent_radii[z]) for z in self.elements], dtype=torch.float64)
        screening = 0.8854 * ANGSTROM_PER_BOHR / (numbers[:, None] ** 0.23 + numbers[None, :] ** 0.23)
        ranges = (radii[:, None] + radii[None, :]).clamp(min=MIN_RANGE).clamp(max=self.cutoff)
        return {
            "inverse_screening": 1.0 / screening,
            "inverse_ranges": 1.0 / ranges,
            "prefactors": 0.5 * COULOMB_EV_ANGSTROM * numbers[:, None] * numbers[None, :],
        }

    def forward(
        self, distances: Tensor, species: Tensor, centers: Tensor, neighbors: Tensor, features: Tensor
    ) -> Tensor:
        """Return half the pair energy for each directed edge, shape (n_edges,), eV.

        The arguments are those of :meth:`.Term.forward`: ``distances`` (n_edges,) in Å, ``species`` (n_atoms,),
        ``centers`` and ``neighbors`` (n_edges,), and ``features`` (n_atoms, F), which are not used.
        """
        return self.pair_energies(distances, species[centers], species[neighbors])

    def pair_energies(self, distances: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        """Return half the pair energy for each directed edge.

        Parameters
        ----------
        distances
            Shape (n_edges,), Å.
        center_species, neighbor_species
            Species index of both ends, shape (n_edges,).

        Returns
        -------
        Tensor
            Shape (n_edges,), eV; exactly zero beyond the pair's range.
        """
        x = distances * self.inverse_screening[center_species, neighbor_species]
        screening = (
            0.18175 * torch.exp(-3.19980 * x)
            + 0.50986 * torch.exp(-0.94229 * x)
            + 0.28022 * torch.exp(-0.40290 * x)
            + 0.02817 * torch.exp(-0.20162 * x)
        )
        envelope = polynomial_envelope(distances * self.inverse_ranges[center_species, neighbor_species])
        return self.prefactors[center_species, neighbor_species] / distances * screening * envelope
