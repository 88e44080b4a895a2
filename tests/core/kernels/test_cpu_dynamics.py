"""Total energy along a trajectory: the CPU kernel in float32 conserves it as well as the reference does."""

from __future__ import annotations

import numpy as np
import torch

from mlff_core import load
from mlff_core.judging.physics.trajectory import run, thermal_velocities
from mlff_core.testing import structures

N_STEPS, TIMESTEP_FS = 400, 0.5


def total_energy(kernel):
    """Return the total energy of ethanol along 0.2 ps from 300 K, relative to its start, shape (n_steps + 1,), eV."""
    potential = load("organic-ultra-tiny", device="cpu", kernel=kernel)
    assert potential.kernel.name == kernel
    batch = structures.to_batch(structures.ethanol())
    velocities = thermal_velocities(batch, 300.0, torch.Generator().manual_seed(3))
    done = run(potential, batch, velocities, n_steps=N_STEPS, timestep_fs=TIMESTEP_FS, record_every=1)
    total = (done.potential_energy + done.kinetic_energy)[:, 0]
    return total - total[0]


def drift(energy):
    """Return the slope of a line through the energies, eV per step."""
    return abs(np.polyfit(np.arange(len(energy)), energy, 1)[0])


def test_the_total_energy_deviates_and_drifts_no_more_than_the_references():
    fused, reference = total_energy("cpu"), total_energy("reference")
    assert np.abs(reference).max() > 0
    assert np.abs(fused).max() < 1.1 * np.abs(reference).max()
    assert fused.std() < 1.1 * reference.std()
    # A tenth of the deviation over the whole run: the effect of the phase of the fluctuation on a fitted slope.
    assert drift(fused) < 1.1 * drift(reference) + 0.1 * reference.std() / N_STEPS
