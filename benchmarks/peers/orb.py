"""Orb v3, conservative, at most 20 neighbours an atom, through its own ASE calculator; random weights."""

import sys
import warnings
from importlib import metadata
from pathlib import Path

import torch

warnings.simplefilter("ignore")

from orb_models.forcefield.atomic_system import SystemConfig
from orb_models.forcefield.calculator import ORBCalculator
from orb_models.forcefield.pretrained import orb_v3_conservative_architecture

# Last in the path, so that scripts here do not hide packages of the same names.
sys.path.append(str(Path(__file__).parent))
from system_structures import calculator_steps, settle_torch


def make_model():
    torch.manual_seed(0)
    settings = SystemConfig(radius=6.0, max_num_neighbors=20)
    return orb_v3_conservative_architecture(device="cpu", system_config=settings).eval().requires_grad_(False)


def prepare(system, arguments):
    settle_torch()
    return calculator_steps(ORBCalculator(make_model(), device="cpu"), system)


def describe(arguments):
    return {
        "model": f"Orb v3 conservative, {sum(p.numel() for p in make_model().parameters())} parameters, "
        "random weights, eager",
        "neighbours": "its ASE calculator's, every step; a batch is one structure after the other",
        "versions": {name: metadata.version(name) for name in ("orb-models", "torch", "numpy")},
    }
