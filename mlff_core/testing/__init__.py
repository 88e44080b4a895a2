"""Structures, reference potentials and contracts, shipped so that other packages can run them too."""

from __future__ import annotations

from mlff_core.testing.engine_contract import EngineContract
from mlff_core.testing.reference_potential import PairPotential, small_student
from mlff_core.testing.runner import ContractResult, contract_for, run_contract

__all__ = ["ContractResult", "EngineContract", "PairPotential", "contract_for", "run_contract", "small_student"]
