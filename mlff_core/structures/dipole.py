"""Dipole moments of charges."""

from __future__ import annotations

import numpy as np
import torch
from ase.data import atomic_masses
from torch import Tensor

from mlff_core.errors import InputError
from mlff_core.structures.batch import AtomicBatch

_MASSES = torch.from_numpy(np.asarray(atomic_masses, dtype=np.float64)[:119])


def centres_of_mass(batch: AtomicBatch) -> Tensor:
    """Return the centre of mass of each structure, shape (n_systems, 3), Å, float64."""
    masses = _MASSES.to(batch.device)[batch.atomic_numbers][:, None]
    zeros = torch.zeros(batch.n_systems, 3, dtype=torch.float64, device=batch.device)
    moments = zeros.index_add(0, batch.system_idx, masses * batch.positions.double())
    return moments / zeros.index_add(0, batch.system_idx, masses.expand(-1, 3))


def dipoles(batch: AtomicBatch, charges: Tensor) -> Tensor:
    """Return the dipole moment Σ q (r − R) of each structure, shape (n_systems, 3), e·Å, float64.

    R is the centre of mass, so the dipole of an ion, too, does not depend on where it is.

    Parameters
    ----------
    batch
        Structures without periodic boundaries.
    charges
        Charge of each atom, shape (n_atoms,), e.
    """
    from_centre = batch.positions.double() - centres_of_mass(batch)[batch.system_idx]
    zeros = torch.zeros(batch.n_systems, 3, dtype=torch.float64, device=batch.device)
    total: Tensor = zeros.index_add(0, batch.system_idx, charges.double()[:, None] * from_centre)
    return total


def check_not_periodic(batch: AtomicBatch) -> None:
    """Refuse periodic structures, whose dipole depends on which images of the atoms are taken.

    Raises
    ------
    InputError
        A structure is periodic along some lattice vector.
    """
    if bool(batch.pbc.any()):
        raise InputError(
            "a periodic structure has no dipole of its own: it depends on which images of the atoms are taken; ask for "
            "charges instead"
        )
