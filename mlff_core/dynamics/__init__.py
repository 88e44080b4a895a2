"""Molecular dynamics with any potential: NVE, NVT and NPT, with files from which a killed run can be continued."""

from mlff_core.dynamics.replicas import ReplicasReport, run_replicas
from mlff_core.dynamics.settings import MDSettings
from mlff_core.dynamics.simulation import MDReport, run_md

__all__ = ["MDReport", "MDSettings", "ReplicasReport", "run_md", "run_replicas"]
