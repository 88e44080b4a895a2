"""Which kernel evaluates a student."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Protocol

from mlff_core.batch import AtomicBatch
from mlff_core.errors import InputError
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.painn import PaiNN
from mlff_core.neighbors import EdgeList
from mlff_core.prediction import Prediction


class Kernel(Protocol):
    """What a student needs to be evaluated."""

    name: str

    def evaluate(self, batch: AtomicBatch, edges: EdgeList, want: Collection[str]) -> Prediction:
        """Return what is in ``want`` for a batch and its edges."""


KERNELS: dict[str, type[ReferenceKernel]] = {"reference": ReferenceKernel}
"""Every kernel by name, the truth first."""


def choose_kernel(model: PaiNN, name: str = "auto") -> Kernel:
    """Return the kernel that ``name``, or ``MLFF_KERNEL`` where it is ``"auto"``, asks for.

    Raises
    ------
    InputError
        No kernel has this name.
    """
    if name == "auto":
        name = os.environ.get("MLFF_KERNEL", "auto")
    if name == "auto":
        name = "reference"
    if name not in KERNELS:
        raise InputError(f"no kernel is called {name!r}; there are auto, {', '.join(KERNELS)}")
    return KERNELS[name](model)
