"""Radial basis functions and the cutoff envelope."""

import math

import torch
from torch import Tensor

from mlff_core.model.constants import ModuleWithConstants


class BesselBasis(ModuleWithConstants):
    """sin(nπ r / r_c) / r for n = 1 … n_radial.

    Eq. 6 of K. Schütt, O. Unke, M. Gastegger, ICML 2021 (arXiv:2102.03150), scaled by √(2/r_c) to unit norm as in
    J. Gasteiger, J. Groß, S. Günnemann, ICLR 2020 (arXiv:2003.03123), eq. 7.

    Parameters
    ----------
    n_radial
        Number of functions.
    cutoff
        r_c, Å.
    """

    frequencies: Tensor

    def __init__(self, n_radial: int, cutoff: float) -> None:
        super().__init__()
        self.n_radial = n_radial
        self.cutoff = cutoff
        self.norm = math.sqrt(2.0 / cutoff)
        self.set_constants()

    def constants(self) -> dict[str, Tensor]:
        """Return nπ / r_c as ``frequencies``, shape (n_radial,), Å⁻¹."""
        return {"frequencies": torch.arange(1, self.n_radial + 1, dtype=torch.float64) * math.pi / self.cutoff}

    def forward(self, distances: Tensor) -> Tensor:
        """Return the basis, shape (n_edges, n_radial), Å^-½, at distances of shape (n_edges,), Å."""
        r = distances.unsqueeze(-1)
        return self.norm * torch.sin(r * self.frequencies) / r


class GaussianBasis(ModuleWithConstants):
    """exp(−(r − μ_n)² / 2δ²) with centres μ_n evenly spaced by δ from 0 to r_c.

    K. Schütt et al., J. Chem. Phys. 148, 241722 (2018), doi:10.1063/1.5019779.

    Parameters
    ----------
    n_radial
        Number of functions, at least 2.
    cutoff
        r_c, Å.
    """

    centers: Tensor

    def __init__(self, n_radial: int, cutoff: float) -> None:
        super().__init__()
        self.n_radial = n_radial
        self.cutoff = cutoff
        self.width = cutoff / (n_radial - 1)
        self.set_constants()

    def constants(self) -> dict[str, Tensor]:
        """Return the μ_n as ``centers``, shape (n_radial,), Å."""
        return {"centers": torch.linspace(0.0, self.cutoff, self.n_radial, dtype=torch.float64)}

    def forward(self, distances: Tensor) -> Tensor:
        """Return the basis, shape (n_edges, n_radial), at distances of shape (n_edges,), Å."""
        x = (distances.unsqueeze(-1) - self.centers) / self.width
        return torch.exp(-0.5 * x * x)


def polynomial_envelope(x: Tensor) -> Tensor:
    """Return 1 − 28x⁶ + 48x⁷ − 21x⁸ for x < 1 and 0 beyond; same shape as ``x``.

    The value and its first two derivatives vanish at x = r/r_c = 1, so energy, forces and Hessian are continuous when
    an atom crosses the cutoff. Eq. 8 of arXiv:2003.03123 with p = 6.
    """
    x = torch.clamp(x, max=1.0)
    x2 = x * x
    x6 = x2 * x2 * x2
    return 1.0 - x6 * (28.0 - x * (48.0 - 21.0 * x))
