"""The readout of local charges from the features of a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlff_core.errors import InputError

WIDTH = 24
"""Width of the hidden layer of a new readout of charges."""
MOST = 4096
"""Largest width of a readout in a file."""


def bounded(charges: Tensor) -> Tensor:
    """Return charges that are unchanged within ±2 e and bounded by ±3 e, with two continuous derivatives.

    No atom of a molecule has a larger partial charge, so the bound is met only far from everything that a student has
    learned, where a readout without it gives atoms of a clashing cluster 10 e and more.

    Parameters
    ----------
    charges
        Of any shape, e.
    """
    inside = torch.clamp(charges, min=-2.0, max=2.0)
    return inside + torch.tanh(charges - inside)


class ChargeReadout(nn.Sequential):
    """Two layers from the features of an atom to its charge, e.

    It is local, as the energy is: nothing is spread over a structure, so that molecules far from each other keep their
    charges, and the charges of a structure sum to its total charge only as far as they have learned to. A student gives
    them :func:`bounded`.

    Parameters
    ----------
    n_features
        Number of features of an atom.
    width
        Width of the hidden layer.
    """

    def __init__(self, n_features: int, width: int = WIDTH) -> None:
        layers = nn.Linear(n_features, width), nn.Linear(width, 1)
        super().__init__(layers[0], nn.SiLU(), layers[1])
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    @classmethod
    def for_state(cls, state: Mapping[str, Tensor], n_features: int) -> ChargeReadout:
        """Return a readout whose numbers are to be loaded from a state dict, after a check of their shapes.

        Parameters
        ----------
        state
            State dict of a student: tensors of any shape and any unit.
        n_features
            Number of features of an atom.

        Raises
        ------
        InputError
            A number is missing or has the wrong shape.
        """
        first = state.get("charges.0.bias")
        width = 0 if first is None or first.ndim != 1 else len(first)
        if not 0 < width <= MOST:
            raise InputError(f"config and weights disagree: the readout of charges has a width of {width}")
        wanted = {"0.weight": (width, n_features), "0.bias": (width,), "2.weight": (1, width), "2.bias": (1,)}
        for name, shape in wanted.items():
            key = f"charges.{name}"
            found = tuple(state[key].shape) if key in state else "nothing"
            if found != shape:
                raise InputError(f"config and weights disagree: {key} has shape {found}, wanted {shape}")
        return cls(n_features, width)
