"""The three sizes of the student, each within a fixed budget of trainable parameters."""

from __future__ import annotations

from dataclasses import replace

from mlff_core.errors import InputError
from mlff_core.model.painn import PaiNNConfig

PRESETS: dict[str, PaiNNConfig] = {
    "original": PaiNNConfig(hidden=112, n_layers=3, n_radial=20, cutoff=5.0),
    "tiny": PaiNNConfig(hidden=48, n_layers=3, n_radial=20, cutoff=5.0, shared_filters=True),
    "ultra-tiny": PaiNNConfig(hidden=24, n_layers=3, n_radial=20, cutoff=5.0, shared_filters=True),
}
"""Widths are multiples of 8 (AVX2 lanes, tf32 tensor-core tiles), and of 16 for the two larger ones (AVX-512)."""

BUDGETS: dict[str, int] = {"original": 427_292, "tiny": 77_203, "ultra-tiny": 21_459}
"""Largest allowed number of trainable parameters of a preset with its eight default elements."""


def preset(name: str, elements: tuple[int, ...] | None = None) -> PaiNNConfig:
    """Return the configuration of a preset, for other elements if they are given.

    Raises
    ------
    InputError
        No preset has this name.

    Examples
    --------
    >>> preset("tiny").hidden
    48
    """
    if name not in PRESETS:
        raise InputError(f"no preset is called {name!r}; presets are {', '.join(PRESETS)}")
    config = PRESETS[name]
    return config if elements is None else replace(config, elements=elements)
