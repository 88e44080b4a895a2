"""Training by several processes: sums of weights and gradients through torch.distributed.

Each process has its share of a batch; the weights of the loss terms are summed before the backward pass, the gradients
after it. So the step is the same as that of one process with the whole batch, up to the order of summation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Processes:
    """One of the processes that train together.

    Parameters
    ----------
    rank, world
        Number of this process, and of all processes.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank = rank
        self.world = world

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def sum_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each weight summed over the processes.

        Parameters
        ----------
        weights
            Weights by name, each a single number, shape (1,) or (), any unit.
        """
        if self.world == 1:
            return weights
        flat = torch.stack([weight.double() for weight in weights.values()])
        dist.all_reduce(flat)
        return {name: flat[k].to(weight.dtype) for k, (name, weight) in enumerate(weights.items())}

    def sum_gradients(self, model: nn.Module) -> None:
        """Replace each parameter's gradient by its sum over the processes, in one message."""
        if self.world == 1:
            return
        parameters = list(model.parameters())
        flat = torch.cat([_gradient(parameter).reshape(-1) for parameter in parameters])
        dist.all_reduce(flat)
        for parameter, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = piece.view_as(parameter)

    def largest(self, value: float) -> float:
        """Return the largest of the processes' values."""
        if self.world == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64, device=_device())
        dist.all_reduce(said, op=dist.ReduceOp.MAX)
        return float(said[0])

    def agree(self, flag: bool) -> bool:
        """Return whether the flag is true in any process."""
        return self.largest(float(flag)) > 0

    def barrier(self) -> None:
        """Wait for the other processes."""
        if self.world > 1:
            dist.barrier()


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _device() -> torch.device:
    return torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")


GRACE_S = 0.2
"""Time for the threads of a process group to finish after it, s."""


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Yield the processes that torchrun started, or this one alone.

    Parameters
    ----------
    device
        Device of this process: GPUs communicate through nccl, CPUs through gloo.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "MASTER_ADDR" not in os.environ:
        yield Processes()
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        if ours:
            dist.destroy_process_group()
            # A thread of gloo that releases a Python tensor while the interpreter shuts down crashes the process
            # (pytorch/pytorch#190489).
            time.sleep(GRACE_S)
