"""Structures, reference potentials and contracts, shipped so that other packages can run them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_core.plugins.on_demand import attributes_on_demand

if TYPE_CHECKING:
    from mlff_core.testing.engine_contract import EngineContract
    from mlff_core.testing.exporter_contract import ExporterContract
    from mlff_core.testing.reference_potential import PairPotential, charged_student, small_student
    from mlff_core.testing.runner import ContractResult, contract_for, run_contract
    from mlff_core.testing.runtime_contract import RuntimeContract
    from mlff_core.testing.teacher_contract import TeacherContract

_HOME = {
    "ContractResult": "runner",
    "EngineContract": "engine_contract",
    "ExporterContract": "exporter_contract",
    "PairPotential": "reference_potential",
    "RuntimeContract": "runtime_contract",
    "TeacherContract": "teacher_contract",
    "charged_student": "reference_potential",
    "contract_for": "runner",
    "run_contract": "runner",
    "small_student": "reference_potential",
}

__all__ = [
    "ContractResult",
    "EngineContract",
    "ExporterContract",
    "PairPotential",
    "RuntimeContract",
    "TeacherContract",
    "charged_student",
    "contract_for",
    "run_contract",
    "small_student",
]


__getattr__ = attributes_on_demand(__name__, _HOME)
