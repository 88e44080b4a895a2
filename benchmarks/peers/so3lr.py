"""SO3LR through its own ASE calculator, with its own weights; its long-range terms reach 12 Å."""

import sys
from importlib import metadata
from pathlib import Path

from so3krates_torch.calculator.so3 import SO3LRCalculator

# Last in the path, so that scripts here do not hide packages of the same names.
sys.path.append(str(Path(__file__).parent))
from system_structures import calculator_steps, settle_torch


def prepare(system, arguments):
    settle_torch()
    return calculator_steps(SO3LRCalculator(default_dtype="float32"), system)


def describe(arguments):
    model = SO3LRCalculator(default_dtype="float32").models[0]
    return {
        "model": f"SO3LR, {sum(p.numel() for p in model.parameters())} parameters, its own weights",
        "neighbours": "its ASE calculator's (matscipy), every step; a batch is one structure after the other",
        "versions": {name: metadata.version(name) for name in ("so3krates-torch", "torch", "numpy", "matscipy")},
    }
