"""A stranger's plugin, checked by mypy in strict mode: the public types suffice to write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlff_core import AtomicBatch, Engine, Potential, Prediction, hookimpl


class Abacus(Engine):
    name = "abacus"
    requires = ("abacus>=1",)
    install_hint = "pip install abacus"
    capabilities = frozenset({"periodic", "stress"})

    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> Potential:
        return potential

    def evaluate(self, bound: Potential, batch: AtomicBatch) -> Prediction:
        prediction = bound.predict(batch, want=("energy", "forces", "stress"))
        return Prediction(energy=prediction.energy, forces=prediction.forces, stress=prediction.stress)


@hookimpl
def mlff_register_engines() -> list[Engine]:
    return [Abacus()]
