"""``TorchForce``: a student as a TorchScript module that OpenMM runs without Python."""

from __future__ import annotations

import logging
from typing import Any

import torch


def torch_force(module: torch.jit.ScriptModule, periodic: bool) -> Any:
    """Return the ``openmmtorch.TorchForce`` of a scripted module."""
    force = import_openmmtorch().TorchForce(module)
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def import_openmmtorch() -> Any:
    """Return the module ``openmmtorch``.

    The warning that its bindings log, because they import OpenMM by an old name, is suppressed.
    """
    root = logging.getLogger()

    def keep(record: logging.LogRecord) -> bool:
        return "simtk.openmm" not in record.getMessage()

    root.addFilter(keep)
    try:
        import openmmtorch
    finally:
        root.removeFilter(keep)
    return openmmtorch
