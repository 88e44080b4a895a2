"""The radial filters as splines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core.kernels.cpu_parameters import N_INTERVALS, filter_splines
from mlff_core.model.presets import PRESETS
from mlff_core.model.radial import polynomial_envelope


def filter_table(model, linear, n_intervals):
    """Spline coefficients of a linear layer's filters."""
    return (filter_splines(model, n_intervals) @ torch.cat([linear.weight, linear.bias[:, None]], dim=1).T).numpy()


def spline(table, cutoff, r):
    """Value and first two derivatives at ``r`` of the curve that the kernel evaluates."""
    step = cutoff / (len(table) - 3)
    row = np.minimum((r / step).astype(int), len(table) - 4)
    p = (r / step - row)[:, None]
    q = 1 - p
    value = (q**3, 4 - 6 * p**2 + 3 * p**3, 4 - 6 * q**2 + 3 * q**3, p**3)
    first = (-3 * q**2, 9 * p**2 - 12 * p, 12 * q - 9 * q**2, 3 * p**2)
    second = (6 * q, 18 * p - 12, 18 * q - 12, 6 * p)
    return [
        sum(w * table[row + k] for k, w in enumerate(weights)) / 6 / step**order
        for order, weights in enumerate((value, first, second))
    ]


def exact(model, linear, r):
    """Value and first two derivatives of the reference's filters."""

    def filters(x):
        return linear(model.basis(x)) * polynomial_envelope(x / model.cutoff).unsqueeze(-1)

    x, one = torch.as_tensor(r), torch.ones(len(r), dtype=torch.float64)

    def first(x):
        return torch.func.jvp(filters, (x,), (one,))[1]

    return filters(x).numpy(), first(x).numpy(), torch.func.jvp(first, (x,), (one,))[1].numpy()


@pytest.mark.parametrize("basis", ["bessel", "gaussian"])
def test_the_table_has_the_value_and_two_derivatives_of_the_filters(basis, make_model):
    model = make_model(replace(PRESETS["tiny"], radial_basis=basis))
    linear = model.filters[0]
    table = filter_table(model, linear, N_INTERVALS[torch.float32])
    r = np.linspace(0.3, 4.9999, 7001)
    for given, true, tolerance in zip(spline(table, 5.0, r), exact(model, linear, r), (1e-7, 1e-5, 2e-3), strict=True):
        assert np.abs(given - true).max() < tolerance * np.abs(true).max()


def test_the_table_is_smooth_from_piece_to_piece(make_model):
    model = make_model(PRESETS["tiny"])
    table = filter_table(model, model.filters[0], 64)
    knots = np.arange(5, 64) * (5.0 / 64)
    for before, after in zip(spline(table, 5.0, knots - 1e-9), spline(table, 5.0, knots + 1e-9), strict=True):
        assert np.abs(after - before).max() < 1e-5 * max(1.0, np.abs(after).max())


def test_the_table_ends_smoothly_at_the_cutoff(make_model):
    model = make_model(PRESETS["tiny"])
    table = filter_table(model, model.filters[0], N_INTERVALS[torch.float32])
    for ending in spline(table, 5.0, np.array([5.0])):
        assert np.abs(ending).max() < 1e-12
