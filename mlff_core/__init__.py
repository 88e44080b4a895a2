"""One trained machine-learning force field, every MD engine.

Names are imported on first use, so that ``import mlff_core`` imports neither torch nor any engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlff_core.card import ModelCard
    from mlff_core.errors import (
        CheckpointError,
        InputError,
        MissingDependencyError,
        MlffError,
        PluginError,
        UnsupportedError,
    )
    from mlff_core.models.opening import load
    from mlff_core.plugins.engine import Engine, Tolerance
    from mlff_core.plugins.exporter import Exporter, ExportReport
    from mlff_core.plugins.hookspecs import hookimpl
    from mlff_core.plugins.runtime import Runtime
    from mlff_core.plugins.teacher import Teacher
    from mlff_core.potentials.interface import Potential
    from mlff_core.potentials.student import StudentPotential
    from mlff_core.potentials.verlet import VerletPotential
    from mlff_core.structures.batch import AtomicBatch, concatenate, single, split
    from mlff_core.structures.neighbors import EdgeList, VerletNeighborList, find_neighbors
    from mlff_core.structures.prediction import Prediction
    from mlff_core.structures.reading import batch_from_atoms, read_structures

_HOME = {
    "AtomicBatch": "structures.batch",
    "concatenate": "structures.batch",
    "single": "structures.batch",
    "split": "structures.batch",
    "ModelCard": "card",
    "Engine": "plugins.engine",
    "Tolerance": "plugins.engine",
    "CheckpointError": "errors",
    "InputError": "errors",
    "MissingDependencyError": "errors",
    "MlffError": "errors",
    "PluginError": "errors",
    "UnsupportedError": "errors",
    "Exporter": "plugins.exporter",
    "ExportReport": "plugins.exporter",
    "hookimpl": "plugins.hookspecs",
    "EdgeList": "structures.neighbors",
    "VerletNeighborList": "structures.neighbors",
    "find_neighbors": "structures.neighbors",
    "Potential": "potentials.interface",
    "VerletPotential": "potentials.verlet",
    "Prediction": "structures.prediction",
    "load": "models.opening",
    "Runtime": "plugins.runtime",
    "batch_from_atoms": "structures.reading",
    "read_structures": "structures.reading",
    "StudentPotential": "potentials.student",
    "Teacher": "plugins.teacher",
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
