"""A smooth bound on the energy that a network gives an atom.

This module has no postponed annotations, because TorchScript reads the annotations.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mlff_core.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self


class Saturation(nn.Module):
    """A map of the learned energy of an atom that leaves it unchanged within a range and bounds it outside.

    For an element with the range [a, b] and the width w, y in [a, b] stays y, y > b becomes b + w tanh((y − b)/w), and
    y < a becomes a + w tanh((y − a)/w). The map has two continuous derivatives, it is the identity to the last bit
    within the range, and its values lie in [a − w, b + w]. Outside the range the force of an atom's learned energy is
    multiplied by 1 − tanh², so that forces stay the derivatives of the energy.

    Parameters
    ----------
    lowest, highest
        Range of each element in the order of the species index, eV.
    width
        Width w of the transition, eV.

    Raises
    ------
    InputError
        A range is empty, or the width is not positive.
    """

    lowest: Tensor
    highest: Tensor
    width: Tensor

    def __init__(self, lowest: Sequence[float], highest: Sequence[float], width: float) -> None:
        super().__init__()
        if len(lowest) != len(highest) or not all(a <= b for a, b in zip(lowest, highest, strict=True)):
            raise InputError(
                "bounds of energies must be one range for each element, the lower end first, got "
                f"{list(lowest)} to {list(highest)} eV"
            )
        if not 0 < width < float("inf"):
            raise InputError(f"the width of bounds of energies must be positive and finite, in eV, got {width}")
        self.register_buffer("lowest", torch.tensor(list(lowest), dtype=torch.get_default_dtype()))
        self.register_buffer("highest", torch.tensor(list(highest), dtype=torch.get_default_dtype()))
        self.register_buffer("width", torch.tensor(float(width), dtype=torch.get_default_dtype()))

    @classmethod
    def for_state(cls, state: Mapping[str, Tensor], n_elements: int) -> "Self":
        """Return a map whose numbers are to be loaded from a state dict, after a check of them.

        Parameters
        ----------
        state
            State dict of a student: tensors of any shape and any unit.
        n_elements
            Number of elements of the student.

        Raises
        ------
        InputError
            A number is missing, has the wrong shape, or is not a valid one.
        """
        for name, shape in {"lowest": (n_elements,), "highest": (n_elements,), "width": ()}.items():
            key = f"saturation.{name}"
            found = tuple(state[key].shape) if key in state else "nothing"
            if found != shape:
                raise InputError(f"config and weights disagree: {key} has shape {found}, wanted {shape}")
        return cls(
            state["saturation.lowest"].tolist(), state["saturation.highest"].tolist(), float(state["saturation.width"])
        )

    def forward(self, energies: Tensor, species: Tensor) -> Tensor:
        """Return the bounded energies, shape (n_atoms,), eV.

        Parameters
        ----------
        energies
            Learned energy of each atom, shape (n_atoms,), eV.
        species
            Species index of each atom, shape (n_atoms,).
        """
        # Not torch.where: its gradient is NaN where the branch that is not taken overflows.
        inside = torch.clamp(energies, min=self.lowest[species], max=self.highest[species])
        return inside + self.width * torch.tanh((energies - inside) / self.width)
