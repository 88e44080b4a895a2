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

    Its bindings import OpenMM by a name of old and so log a warning, which means nothing to who runs a simulation.
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
