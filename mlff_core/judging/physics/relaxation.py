"""Minima of the potential energy, from which the checks start."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize

from mlff_core.potentials.checks import check_one_system
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch

REACH = 0.1
"""Displacement of a coordinate after which the minimiser is restarted, Å."""

MAX_STARTS = 60


def relaxed(potential: Potential, batch: AtomicBatch, *, fmax: float = 0.01, max_steps: int = 500) -> AtomicBatch:
    """Return one structure at a minimum of its energy, cell fixed, float64.

    scipy's L-BFGS (R. H. Byrd et al., SIAM J. Sci. Comput. 16, 1190 (1995), doi:10.1137/0916069), restarted
    whenever a coordinate has moved by 0.1 Å: its first step is an ångström long and would make atoms overlap.

    Parameters
    ----------
    potential
        Gives energy and forces.
    batch
        One structure.
    fmax
        Largest force component at the end, eV/Å.
    max_steps
        Largest number of steps of each start; the best structure found is returned if they do not suffice.

    Raises
    ------
    InputError
        The batch holds more than one structure.
    UnsupportedError
        The potential gives no forces.
    """
    check_one_system(batch)
    batch = batch.to(potential.device, torch.float64)
    driven = VerletPotential(potential)

    def energy_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        positions = torch.from_numpy(flat.reshape(-1, 3)).to(batch.device)
        found = driven.predict(batch.with_positions(positions))
        forces = found.need("forces", potential.card.name, "which relaxing needs")
        return float(found.energy[0]), -forces.double().cpu().numpy().reshape(-1)

    start = batch.positions.cpu().numpy().reshape(-1)
    for _ in range(MAX_STARTS):
        found = minimize(
            energy_and_gradient,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(x - REACH, x + REACH) for x in start],
            options={"gtol": fmax, "ftol": 0.0, "maxiter": max_steps},
        )
        moved = float(np.abs(found.x - start).max())
        start = found.x
        if moved < 0.999 * REACH:
            break
    return batch.with_positions(torch.from_numpy(start.reshape(-1, 3)).to(batch.device))
