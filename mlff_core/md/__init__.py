"""Molecular dynamics with any potential: NVE, NVT and NPT, with files from which a killed run goes on."""

from mlff_core.md.replicas import ReplicasReport, run_replicas
from mlff_core.md.run import MDReport, run_md
from mlff_core.md.settings import MDSettings

__all__ = ["MDReport", "MDSettings", "ReplicasReport", "run_md", "run_replicas"]
