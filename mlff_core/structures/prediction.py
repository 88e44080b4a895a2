"""A prediction, the output of every potential."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlff_core.errors import UnsupportedError


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Energies and their derivatives for the structures of a batch."""

    energy: Tensor
    """Potential energy, shape (n_systems,), eV; always float64, since a float32 sum over a large system loses meV."""
    forces: Tensor | None = None
    """−dE/d(positions), shape (n_atoms, 3), eV/Å; None if not asked for."""
    stress: Tensor | None = None
    """+(1/V) dE/d(strain), shape (n_systems, 3, 3), eV/Å³, positive under tension; None if not asked for."""
    atom_energies: Tensor | None = None
    """Share of each atom, shape (n_atoms,), eV, float64; sums to ``energy``."""
    energy_std: Tensor | None = None
    """Calibrated standard deviation of the energy, shape (n_systems,), eV."""
    forces_std: Tensor | None = None
    """Calibrated standard deviation of the forces, shape (n_atoms, 3), eV/Å."""
    charges: Tensor | None = None
    """Charge of each atom, shape (n_atoms,), e; None if not asked for."""
    dipole: Tensor | None = None
    """Dipole moment about the centre of mass, shape (n_systems, 3), e·Å; None if not asked for."""

    def need(self, name: str, potential: str, consequence: str = "") -> Tensor:
        """Return a property that the caller needs, in its shape and unit.

        Parameters
        ----------
        name
            The property: ``"forces"``, ``"stress"`` …
        potential
            Name of the potential that made the prediction.
        consequence
            What cannot be done without the property, or what to do instead; the message ends with it.

        Raises
        ------
        UnsupportedError
            The potential did not compute it.
        """
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise not_given(name, potential, consequence)
        return value

    def to(self, device: torch.device | str) -> Prediction:
        """Return the prediction on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return Prediction(
            energy=self.energy.to(device),
            forces=move(self.forces),
            stress=move(self.stress),
            atom_energies=move(self.atom_energies),
            energy_std=move(self.energy_std),
            forces_std=move(self.forces_std),
            charges=move(self.charges),
            dipole=move(self.dipole),
        )


def not_given(name: str, potential: str, consequence: str = "") -> UnsupportedError:
    """Return the error for a property that a potential does not compute; see :meth:`Prediction.need`.

    Examples
    --------
    >>> print(not_given("stress", "pairs", "so it cannot run npt; use nvt"))
    pairs gives no stress, so it cannot run npt; use nvt
    """
    return UnsupportedError(f"{potential} gives no {name}{f', {consequence}' if consequence else ''}")
