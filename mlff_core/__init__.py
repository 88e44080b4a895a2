"""One trained machine-learning force field, every MD engine.

Names are imported on first use, so that ``import mlff_core`` imports neither torch nor any engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlff_core.batch import AtomicBatch, concatenate, single, split
    from mlff_core.card import ModelCard
    from mlff_core.engine import Engine, Tolerance
    from mlff_core.errors import (
        CheckpointError,
        InputError,
        MissingDependencyError,
        MlffError,
        PluginError,
        UnsupportedError,
    )
    from mlff_core.exporter import Exporter, ExportReport
    from mlff_core.hookspecs import hookimpl
    from mlff_core.neighbors import EdgeList, VerletNeighborList, find_neighbors
    from mlff_core.opening import load
    from mlff_core.potential import Potential, VerletPotential
    from mlff_core.prediction import Prediction
    from mlff_core.runtime import Runtime
    from mlff_core.structures import batch_from_atoms, read_structures
    from mlff_core.student import StudentPotential
    from mlff_core.teacher import Teacher

_HOME = {
    "AtomicBatch": "batch",
    "concatenate": "batch",
    "single": "batch",
    "split": "batch",
    "ModelCard": "card",
    "Engine": "engine",
    "Tolerance": "engine",
    "CheckpointError": "errors",
    "InputError": "errors",
    "MissingDependencyError": "errors",
    "MlffError": "errors",
    "PluginError": "errors",
    "UnsupportedError": "errors",
    "Exporter": "exporter",
    "ExportReport": "exporter",
    "hookimpl": "hookspecs",
    "EdgeList": "neighbors",
    "VerletNeighborList": "neighbors",
    "find_neighbors": "neighbors",
    "Potential": "potential",
    "VerletPotential": "potential",
    "Prediction": "prediction",
    "load": "opening",
    "Runtime": "runtime",
    "batch_from_atoms": "structures",
    "read_structures": "structures",
    "StudentPotential": "student",
    "Teacher": "teacher",
}

__version__ = "0.1.0"
__all__ = [
    "AtomicBatch",
    "CheckpointError",
    "EdgeList",
    "Engine",
    "ExportReport",
    "Exporter",
    "InputError",
    "MissingDependencyError",
    "MlffError",
    "ModelCard",
    "PluginError",
    "Potential",
    "Prediction",
    "Runtime",
    "StudentPotential",
    "Teacher",
    "Tolerance",
    "UnsupportedError",
    "VerletNeighborList",
    "VerletPotential",
    "__version__",
    "batch_from_atoms",
    "concatenate",
    "find_neighbors",
    "hookimpl",
    "load",
    "read_structures",
    "single",
    "split",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mlff_core.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mlff_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
