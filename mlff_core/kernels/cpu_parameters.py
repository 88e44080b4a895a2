"""The numbers of a PaiNN in the order in which the CPU kernel reads them, with its radial filters as splines."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlff_core.model.painn import Message, PaiNN, Update
from mlff_core.model.radial import polynomial_envelope

N_INTERVALS = {torch.float32: 768, torch.float64: 8192}
"""Number of intervals of each filter's spline; docs/kernels.md shows the error of the forces against it. In float32
more intervals mean larger rounding errors of the derivatives. In float64 the forces must agree with the reference
within 1e-8 of the largest, the tolerance of an engine, and their finite differences with its Hessian."""


def spline_coefficients(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the coefficients of the uniform cubic B-splines through ``values``, shape (n_intervals + 3, width).

    The curve has two continuous derivatives. At the far end the curve and both derivatives vanish, as those of the
    filters do at the cutoff; at the near end, at distances that no two atoms may have, its second derivative is zero.

    Parameters
    ----------
    values
        Values at the ends of the intervals, shape (n_intervals + 1, width), the last row zero.
    """
    n_points = len(values)
    # (c₋ + 4c + c₊)/6 is the value at a point. At the near end c₀ is the value; at the far end c₊ = c₋, so that the
    # first derivative is zero. Elimination from the near end, then back substitution, for all columns at once.
    inner = 6.0 * values
    inner[0] = values[0]
    above = np.zeros(n_points)
    for k in range(1, n_points):
        below = 2.0 if k == n_points - 1 else 1.0
        pivot = 4.0 - below * above[k - 1]
        above[k] = 1.0 / pivot
        inner[k] = (inner[k] - below * inner[k - 1]) / pivot
    for k in range(n_points - 2, 0, -1):
        inner[k] -= above[k] * inner[k + 1]
    coefficients = np.empty((n_points + 2, values.shape[1]))
    coefficients[1:-1] = inner
    coefficients[0] = 2.0 * inner[0] - inner[1]
    # The last three coefficients are of fourth order in the step, since a filter vanishes with the third power; set to
    # zero, they make the value and the first two derivatives vanish exactly.
    coefficients[-3:] = 0.0
    return coefficients


def filter_splines(model: PaiNN, n_intervals: int) -> Tensor:
    """Return the spline coefficients of the basis functions times the envelope, float64.

    A filter is a linear layer of the radial basis times the envelope, and the spline through a sum is the sum of the
    splines. The coefficients of all filters are therefore this matrix times the layer's weights and bias.

    Parameters
    ----------
    model
        The network, of which basis and cutoff are used.
    n_intervals
        Number of intervals between 0 and the cutoff.

    Returns
    -------
    Tensor
        Shape (n_intervals + 3, n_radial + 1); the last column belongs to the bias.
    """
    basis = copy.deepcopy(model.basis).cpu().double()
    distances = torch.linspace(0.0, model.cutoff, n_intervals + 1, dtype=torch.float64)
    distances[0] = 1e-6  # the Bessel functions are 0/0 at 0
    envelope = polynomial_envelope(distances / model.cutoff).unsqueeze(-1)
    values = torch.cat([basis(distances), torch.ones_like(envelope)], dim=1) * envelope
    return torch.from_numpy(spline_coefficients(values.numpy()))


def trainable_numbers(model: PaiNN, splines: Tensor) -> Tensor:
    """Return the numbers computed from the trainable parameters, in the order of ``cpu/api.h``.

    They are differentiable in the parameters: the kernel's gradient with respect to these numbers is propagated back
    through the splines, and through the first layer's φ of the embeddings.

    Parameters
    ----------
    model
        The network.
    splines
        From :func:`filter_splines`, in the model's precision, shape (n_intervals + 3, n_radial + 1).
    """
    return torch.cat([part.reshape(-1) for part in _trainable(model, splines)])


def constant_numbers(model: PaiNN) -> npt.NDArray[np.float64]:
    """Return the numbers that are never trained, in the order of ``cpu/api.h``."""
    zbl = copy.deepcopy(model.zbl).cpu().double()
    parts = [zbl.inverse_screening, zbl.inverse_ranges, zbl.prefactors]
    parts += [model.reference_energies, model.species_of_number]
    if model.saturation is None:
        endless = torch.full((len(model.config.elements),), torch.inf)
        parts += [-endless, endless, torch.ones(())]
    else:
        parts += [model.saturation.lowest, model.saturation.highest, model.saturation.width]
    return torch.cat([part.detach().cpu().double().reshape(-1) for part in parts]).numpy()


def _trainable(model: PaiNN, splines: Tensor) -> Iterator[Tensor]:
    messages = [cast("Message", block) for block in model.messages]
    updates = [cast("Update", block) for block in model.updates]
    yield model.embedding.weight
    yield messages[0].phi(model.embedding.weight)
    for block in model.filters:
        linear = cast("nn.Linear", block)
        yield splines @ torch.cat([linear.weight, linear.bias.unsqueeze(1)], dim=1).T
    for k, (message, update) in enumerate(zip(messages, updates, strict=True)):
        if k > 0:
            yield from message.phi.parameters()
        yield update.mix.weight
        yield from update.a.parameters()
    yield from model.readout.parameters()
    if model.charges is not None:
        yield from model.charges.parameters()
