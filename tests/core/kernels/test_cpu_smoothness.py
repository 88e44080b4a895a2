"""The CPU kernel's energy has two continuous derivatives, and the second is the reference's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.kernels.cpu_parameters import N_INTERVALS
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.distance_floor import CORE_WIDTH
from mlff_core.model.presets import PRESETS
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import single
from mlff_core.structures.neighbors import find_neighbors

CUTOFF = 5.0
H, O = 1, 8  # noqa: E741


def model_and_card(make_model, preset="ultra-tiny"):
    model = make_model(PRESETS[preset])
    return model, ModelCard("random", model.config.elements, model.cutoff)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "what", [9, "two atoms in the range of the repulsion", "atoms at the edge of each other's cores"]
)
def test_finite_differences_of_the_forces_are_the_references_hessian(preset, what, make_model, make_structure):
    model, card = model_and_card(make_model, preset)
    batch = make_structure(what)
    exact = StudentPotential(model, card, dtype=torch.float64, kernel="reference").hessian(batch)
    kernel, edges = CPUKernel(model), find_neighbors(batch, model.cutoff + 0.1)
    step, rows = 1e-4, []
    for k in range(3 * batch.n_atoms):
        shift = torch.zeros(3 * batch.n_atoms, dtype=torch.float64)
        shift[k] = step
        up, down = (
            kernel.evaluate(batch.with_positions(batch.positions + sign * shift.reshape(-1, 3)), edges, ("forces",))
            for sign in (1, -1)
        )
        rows.append((down.forces - up.forces).reshape(-1) / (2 * step))
    found = torch.stack(rows)
    assert float((found - exact).abs().max()) < 1e-5 * float(exact.abs().max())


def triangle(length):
    """O at the origin, H along x, another H that sees both."""
    positions = [[0.0, 0.0, 0.0], [length, 0.0, 0.0], [0.5 * length, 1.4, 0.3]]
    return single(positions, [O, H, H], dtype=torch.float64)


def places(model):
    """Distances of O and H at which the kernel's formulas change."""
    species = model.species_of_number
    length = 1.0 / float(model.zbl.inverse_ranges[species[O], species[H]])
    piece = model.cutoff / N_INTERVALS[torch.float64]
    return {
        "a knot": 2000 * piece,
        "another knot": 5001 * piece,
        "the cutoff": model.cutoff,
        "where the core begins": model.config.core * length,
        "where filters are held": (model.config.core - CORE_WIDTH) * length,
        "where the repulsion ends": length,
    }


PLACES = (
    "a knot",
    "another knot",
    "the cutoff",
    "where the core begins",
    "where filters are held",
    "where the repulsion ends",
)
STEP = 1e-4
"""Å; a piece of a spline in float64 has six of them."""


def energy_force_curvature(kernel, lengths, step=STEP):
    """Return E, dE/dx of the atom that moves, and the derivative of that, at each length, shape (n, 3)."""
    rows = []
    for length in lengths:
        at = []
        for shift in (0.0, step / 4, -step / 4):
            batch = triangle(length + shift)
            edges = find_neighbors(batch, CUTOFF + 0.5)
            given = kernel.evaluate(batch, edges, ("forces",))
            # The third atom moves by half as much, see `triangle`.
            derivative = -float(given.forces[1, 0] + 0.5 * given.forces[2, 0])
            at.append((float(given.energy), derivative))
        rows.append((at[0][0], at[0][1], (at[1][1] - at[2][1]) / (step / 2)))
    return np.array(rows)


def jumps(values):
    """Return the difference of the values extrapolated from the two sides.

    That shrinks with the square of the step if only a derivative of the values jumps; a jump of the values stays.
    """
    far_left, left, right, far_right = values
    return np.abs((2 * left - far_left) - (2 * right - far_right))


@pytest.mark.parametrize("place", PLACES)
def test_energy_force_and_curvature_do_not_jump(place, make_model):
    model, _ = model_and_card(make_model, "tiny")
    middle = places(model)[place]
    assert middle > 0.3
    kernel, sides = CPUKernel(model), np.array([-2, -1, 1, 2])
    coarse, fine = (jumps(energy_force_curvature(kernel, middle + step * sides, step)) for step in (STEP, STEP / 4))
    # eV, eV/Å, eV/Å²: what rounding leaves in differences of numbers of some 500 eV and 100 eV/Å.
    assert (fine < coarse / 4 + np.array([1e-11, 1e-10, 1e-5])).all(), (coarse, fine)
    assert (coarse < np.array([1e-8, 1e-4, 1e-3])).all(), coarse


def test_a_jump_would_be_seen():
    x = STEP * np.array([-2, -1, 1, 2])
    assert jumps(np.where(x > 0, 1e-4, 0.0)[:, None] + x[:, None]) == pytest.approx(1e-4)
    assert jumps(np.sin(3 * x)[:, None]) < 1e-10


def test_a_sweep_over_knots_core_and_cutoff_is_the_reference(make_model):
    """Steps of a tenth of a piece and more, so that every kind of place is crossed."""
    model, _ = model_and_card(make_model, "tiny")
    piece = model.cutoff / N_INTERVALS[torch.float64]
    lengths = np.concatenate(
        [middle + np.linspace(-3, 3, 13) * (piece / 5) for middle in places(model).values()]
        + [np.linspace(0.45, CUTOFF + 0.2, 25)]
    )
    fused, exact = (energy_force_curvature(kernel, lengths) for kernel in (CPUKernel(model), ReferenceKernel(model)))
    scale = np.maximum(1.0, np.abs(exact).max(axis=0))
    assert (np.abs(fused - exact).max(axis=0) < np.array([1e-9, 1e-8, 1e-5]) * scale).all()
