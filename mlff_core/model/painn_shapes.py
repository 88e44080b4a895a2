"""Limits on the size of a PaiNN and the shapes of its weights, checked before a network of that size takes memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from mlff_core.errors import InputError

LIMITS = {"hidden": (2, 4096), "n_layers": (1, 64), "n_radial": (2, 1024)}
"""Smallest and largest value of what makes a network large; the largest shipped student has 112, 3 and 20."""

LONGEST_CUTOFF = 50.0
"""Longest cutoff, Å; an atom in a solid or liquid has about 50,000 neighbours within it."""

Shape = tuple[int, ...]


class Sizes(Protocol):
    """The part of a :class:`~mlff_core.model.painn.PaiNNConfig` that decides how large the network is."""

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers."""

    @property
    def hidden(self) -> int:
        """Feature channels."""

    @property
    def n_layers(self) -> int:
        """Message and update blocks."""

    @property
    def n_radial(self) -> int:
        """Radial basis functions."""

    @property
    def cutoff(self) -> float:
        """Longest edge, Å."""

    @property
    def shared_filters(self) -> bool:
        """Whether all layers have one radial filter."""


def check_sizes(config: Sizes) -> None:
    """Refuse sizes that are not whole numbers or are outside their limits.

    Raises
    ------
    InputError
        The message names the size and its limit.
    """
    for name, (least, most) in LIMITS.items():
        size = getattr(config, name)
        if type(size) is not int or size < least:
            raise InputError(f"{name} must be a whole number, at least {least}, got {size!r}")
        if size > most:
            raise InputError(f"{name} must be at most {most}, got {size}")
    if not config.cutoff > 0:
        raise InputError(f"cutoff must be positive, in Å, got {config.cutoff}")
    if config.cutoff > LONGEST_CUTOFF:
        raise InputError(f"cutoff must be at most {LONGEST_CUTOFF:g} Å, got {config.cutoff:g}")


def check_shapes(config: Sizes, state: Mapping[str, Tensor]) -> None:
    """Refuse weights whose shapes differ from those of the configuration.

    Parameters
    ----------
    config
        The shape of the network.
    state
        The state dict; tensors of any shape and any unit.

    Raises
    ------
    InputError
        The message names the first weight that differs or is missing.
    """
    for name, wanted in weight_shapes(config).items():
        found = tuple(state[name].shape) if name in state else "nothing"
        if found != wanted:
            raise InputError(f"config and weights disagree: {name} has shape {found}, wanted {wanted}")


def weight_shapes(config: Sizes) -> dict[str, Shape]:
    """Return the shape of every weight and buffer of the state dict, without those of the terms of the energy."""
    hidden, n_layers, n_elements = config.hidden, config.n_layers, len(config.elements)
    shapes: dict[str, Shape] = {
        "scale": (),
        "reference_energies": (n_elements,),
        "embedding.weight": (n_elements, hidden),
        **_linear("readout.0", hidden // 2, hidden),
        **_linear("readout.2", 1, hidden // 2),
    }
    widths = [hidden * (2 if k == 0 else 3) for k in range(n_layers)]
    for k, width in enumerate(widths):
        shapes |= _linear(f"messages.{k}.phi.0", hidden, hidden)
        shapes |= _linear(f"messages.{k}.phi.2", width, hidden)
        shapes[f"updates.{k}.mix.weight"] = (2 * hidden, hidden)
        shapes |= _linear(f"updates.{k}.a.0", hidden, 2 * hidden)
        shapes |= _linear(f"updates.{k}.a.2", hidden * (3 if k < n_layers - 1 else 2), hidden)
    for k, width in enumerate([max(widths)] if config.shared_filters else widths):
        shapes |= _linear(f"filters.{k}", width, config.n_radial)
    return shapes


def _linear(name: str, n_out: int, n_in: int) -> dict[str, Shape]:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}
