"""The optimizers AdamW, SOAP and Muon.

SOAP (N. Vyas et al., ICLR 2025, arXiv:2409.11321) is Adam in the eigenbases of a matrix's two gradient covariances. It
comes from pytorch-optimizer. Muon (:mod:`mlff_core.training.muon`) orthogonalizes the momentum of each matrix of at
least eight rows and columns; AdamW, which comes from torch, updates the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlff_core.plugins.requirements import require
from mlff_core.training.muon import Muon
from mlff_core.training.optimizer_section import BETAS, OptimizerSection

SMALLEST_MATRIX = 8
"""Least number of rows and of columns of a matrix for Muon; AdamW updates smaller ones and the embedding."""


class Together:
    """Several optimizers with different parameters behind the interface of one.

    Parameters
    ----------
    members
        The optimizers.
    """

    def __init__(self, members: Sequence[torch.optim.Optimizer]) -> None:
        self.members = tuple(members)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of all members."""
        return [group for member in self.members for group in member.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all members' parameters."""
        for member in self.members:
            member.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Update the parameters of all members."""
        for member in self.members:
            member.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        for member, saved in zip(self.members, state["members"], strict=True):
            member.load_state_dict(saved)


class Blocks:
    """An optimizer of blocks of matrices behind the interface of an optimizer of whole matrices.

    The blocks are views of the parameters, so that a step on a block changes its parameter.

    Parameters
    ----------
    parameters
        Parameters to update; matrices, shape (n_rows, n_columns), are cut, others stay whole; any unit.
    side
        Longest side of a block.
    make
        Returns the optimizer of the blocks.
    """

    def __init__(
        self, parameters: Sequence[Tensor], side: int, make: Callable[[list[Tensor]], torch.optim.Optimizer]
    ) -> None:
        self._places = [(parameter, place) for parameter in parameters for place in _places(parameter, side)]
        self._blocks: list[Tensor] = [nn.Parameter(parameter.data[place]) for parameter, place in self._places]
        self._parameters = list(parameters)
        self.optimizer = make(self._blocks)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the blocks' optimizer."""
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the parameters."""
        for parameter in self._parameters:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def step(self) -> None:
        """Update the parameters."""
        for block, (parameter, place) in zip(self._blocks, self._places, strict=True):
            block.grad = None if parameter.grad is None else parameter.grad[place]
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.optimizer.load_state_dict(state)


def _places(parameter: Tensor, side: int) -> list[tuple[slice, ...]]:
    """Return the blocks of a parameter: equal parts of a matrix no longer than ``side``, otherwise the whole."""
    if parameter.dim() != 2:
        return [(slice(None),) * parameter.dim()]
    bounds = []
    for length in parameter.shape:
        n_parts = -(-length // side)
        edges = [length * k // n_parts for k in range(n_parts + 1)]
        bounds.append([slice(first, last) for first, last in itertools.pairwise(edges)])
    return [(rows, columns) for rows in bounds[0] for columns in bounds[1]]


def build_optimizer(section: OptimizerSection, model: nn.Module) -> torch.optim.Optimizer | Together | Blocks:
    """Return the optimizer of the settings.

    Parameters
    ----------
    section
        The settings.
    model
        Model whose parameters are updated.

    Raises
    ------
    MissingDependencyError
        SOAP needs pytorch-optimizer.
    """
    parameters = list(model.parameters())
    betas = section.betas or BETAS[section.kind]
    lr, decay = section.lr, section.weight_decay
    if section.kind == "soap":
        require("SOAP", ("pytorch-optimizer>=3.7",), "pip install pytorch-optimizer")
        from pytorch_optimizer import SOAP

        def soap(blocks: list[Tensor]) -> torch.optim.Optimizer:
            made: torch.optim.Optimizer = SOAP(
                blocks,
                lr=lr,
                betas=betas,
                weight_decay=decay,
                precondition_frequency=section.precondition_every,
                max_precondition_dim=section.block,
            )
            return made

        return Blocks(parameters, section.block, soap)
    if section.kind == "muon":
        embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        matrices = [
            parameter
            for parameter in parameters
            if parameter.dim() == 2 and min(parameter.shape) >= SMALLEST_MATRIX and id(parameter) not in embeddings
        ]
        chosen = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in parameters if id(parameter) not in chosen]
        return Together(
            [
                Muon(matrices, lr=lr, momentum=betas[0], weight_decay=decay),
                torch.optim.AdamW(others, lr=lr, betas=betas, weight_decay=decay),
            ]
        )
    return torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=decay)
