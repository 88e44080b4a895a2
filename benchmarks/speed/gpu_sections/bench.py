"""Shared by the sections of the GPU benchmark: device, sizes, structures, timing and the rows of a record."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.speed import systems
from mlff_core.card import ModelCard
from mlff_core.kernels.triton.parameters import read_parameters
from mlff_core.kernels.triton.stepper import Stepper
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import AtomicBatch, concatenate

BUDGET_S = 450.0
"""Budget of all sections together, s; code that cannot be interrupted, such as a compilation, may add some seconds."""
ENOUGH = 10
"""Smallest number of repeats to report if the time is over before the last one."""
MODES = ("float32", "fast")


class OutOfTimeError(Exception):
    """The time of the section, or all of the time, is over."""


class Bench:
    """Shared by the sections: device, sizes and structures."""

    def __init__(self, *, dry: bool, budget_s: float = BUDGET_S) -> None:
        self.dry = dry
        self.budget_s = budget_s
        self.end = time.monotonic() + budget_s
        self.deadline = self.end
        self.device = torch.device("cpu" if dry else "cuda:0")
        self.config = PaiNNConfig(hidden=16, n_layers=2, n_radial=6, cutoff=2.5) if dry else PRESETS["original"]

    def begin(self, share: float) -> None:
        """Set the time of a section: its share of the budget, or the rest if that is less."""
        self.deadline = min(self.end, time.monotonic() + share * self.budget_s)
        self.check()

    def left_s(self) -> float:
        """Return the remaining seconds of the section."""
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """End the section if its time is over."""
        if self.left_s() <= 0:
            raise OutOfTimeError

    def student(self, *, fast: bool) -> StudentPotential:
        """Return the network as a potential with small forces, so that a run with random weights is stable.

        The kernel is given, so that the default of a GPU does not matter.
        """
        model = self.model()
        model.scale.fill_(0.05)
        card = ModelCard(name="random", elements=self.config.elements, cutoff=self.config.cutoff)
        return StudentPotential(model, card, device=self.device, kernel="triton-fast" if fast else "triton")

    def model(self, dtype: torch.dtype = torch.float32) -> PaiNN:
        """Return the network with random weights, the same at every call."""
        torch.manual_seed(0)
        return PaiNN(self.config).to(self.device, dtype).eval().requires_grad_(False)

    def stepper(self, batch: AtomicBatch, *, fast: bool = False, **options: Any) -> Stepper:
        """Return a stepper in float32."""
        return Stepper(read_parameters(self.model(), fast=fast), self.on(batch), **options)

    def on(self, batch: AtomicBatch, dtype: torch.dtype = torch.float32) -> AtomicBatch:
        """Return structures on the device."""
        return batch.to(self.device, dtype)

    def molecule(self, n_atoms: int, seed: int = 0) -> AtomicBatch:
        """Return one molecule."""
        return systems.molecule(4 if self.dry else n_atoms, seed)

    def molecules(self, n: int, n_atoms: int) -> AtomicBatch:
        """Return a batch of molecules."""
        # Sixteen different ones, each many times: making thousands would take longer than computing them.
        different = [self.molecule(n_atoms, seed) for seed in range(min(n, 16))]
        return concatenate([different[k % len(different)] for k in range(2 if self.dry else n)])

    def water(self, n_molecules: int) -> AtomicBatch:
        """Return periodic water."""
        return systems.water(1 if self.dry else n_molecules)

    def wait(self) -> None:
        """Wait for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def wall_ms(self, step: Callable[[], object], repeats: int) -> dict[str, float]:
        """Return median and quartiles of the wall time of one call, ms."""
        for _ in range(0 if self.dry else 5):
            self.check()
            step()
        times: list[float] = []
        for _ in range(2 if self.dry else repeats):
            if len(times) >= ENOUGH and self.left_s() <= 0:
                break
            self.check()
            self.wait()
            start = time.perf_counter()
            step()
            self.wait()
            times.append(time.perf_counter() - start)
        return spread(times)


def spread(times_s: list[float]) -> dict[str, float]:
    """Return median and quartiles of times in seconds, in ms."""
    low, middle, high = (1e3 * time for time in statistics.quantiles(times_s, n=4))
    return {"median_ms": middle, "quartile_low_ms": low, "quartile_high_ms": high, "repeats": len(times_s)}


def relative(given: torch.Tensor, truth: torch.Tensor) -> float:
    return float((given.double() - truth.double()).abs().max() / truth.double().abs().max().clamp(min=1e-12))


def check(result: dict[str, Any], name: str, error: float, limit: float) -> None:
    """Add a row to the section's checks."""
    # `not >` would let NaN pass.
    row = {"error": error, "limit": limit, "ok": bool(error <= limit)}
    result.setdefault("rows", {})[name] = row


def memory(bench: Bench) -> dict[str, float]:
    if bench.device.type != "cuda":
        return {}
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.reset_peak_memory_stats()
    return {"peak_mib": peak}
