"""Processor time of a step with and without a Coulomb term, for ``python -m benchmarks coulomb_term --cost MODEL``.

The step with the term is made of the parts that exist: charges by a forward pass of the CPU kernel, potentials φ and
forces at fixed charges by a prototype in C++ (``coulomb_pairs.cpp``), and one evaluation in the field of φ, which gives
the forces of the network and −Σ φ dq/dx together. The kernel cannot keep its forward pass between two calls, so it
is computed twice; ``kept`` is the estimate if it could: the step alone plus the pair sum. Neighbours within 13 Å are
searched once and kept, as by engines with a skin of 1 Å; the network's own edges are kept too.
"""

from __future__ import annotations

import ctypes
import math
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.systems import SYSTEMS
from mlff_core import load
from mlff_core.kernels.build import find_compiler
from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import find_neighbors
from mlff_core.units import COULOMB_EV_ANGSTROM

CUTOFF, SKIN, DAMPING = 12.0, 1.0, 4.0
INTERVALS = 2048
ROUNDS = 40


def tables() -> tuple[np.ndarray, np.ndarray]:
    """Return energy, eV/e², and derivative in r over r, eV/(e² Å²), at equal steps of r², shape (INTERVALS + 2,)."""

    def plain(r: float) -> tuple[float, float]:
        value = COULOMB_EV_ANGSTROM * math.erf(r / DAMPING) / r
        gaussian = 2.0 / math.sqrt(math.pi) / DAMPING * math.exp(-((r / DAMPING) ** 2))
        return value, COULOMB_EV_ANGSTROM * gaussian / r - value / r

    end, end_derivative = plain(CUTOFF)
    energies, forces = np.zeros(INTERVALS + 2), np.zeros(INTERVALS + 2)
    for k in range(INTERVALS + 1):
        r = max(CUTOFF * math.sqrt(k / INTERVALS), 1e-2)
        value, derivative = plain(r)
        energies[k] = value - end - end_derivative * (r - CUTOFF)
        forces[k] = (derivative - end_derivative) / r
    return energies.astype(np.float32), forces.astype(np.float32)


class PairSum:
    """The prototype, compiled, with the neighbours of a structure."""

    def __init__(self, batch: AtomicBatch) -> None:
        edges = find_neighbors(batch, CUTOFF + SKIN)
        order = torch.argsort(edges.centers, stable=True)
        self.n = batch.n_atoms
        self.n_pairs = edges.n_edges // 2
        counts = torch.bincount(edges.centers, minlength=self.n).numpy()
        shifts = (edges.cell_shifts[order].double() @ batch.cell[0].double()).numpy().astype(np.float32)
        self.first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self.neighbors = edges.neighbors[order].numpy().astype(np.int32)
        self.shifts = [np.ascontiguousarray(shifts[:, k]) for k in range(3)]
        self.tables = tables()
        self.potentials, self.forces = np.zeros(self.n, np.float32), np.zeros((self.n, 3), np.float32)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "pairs.so"
            source = Path(__file__).with_name("coulomb_pairs.cpp")
            flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp-simd", "-shared", "-fPIC"]
            subprocess.run([find_compiler(), *flags, "-o", str(target), str(source)], check=True)
            self.function = ctypes.CDLL(str(target)).coulomb_pairs

    def __call__(self, batch: AtomicBatch, charges: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return φ, shape (n_atoms,), eV/e, and forces at fixed charges (n_atoms,), e, shape (n_atoms, 3), eV/Å."""
        columns = [np.ascontiguousarray(batch.positions.numpy()[:, k]) for k in range(3)]
        q = charges.numpy().astype(np.float32)
        arrays = [self.first, self.neighbors, *columns, *self.shifts, q]
        last = [*self.tables, self.potentials, self.forces]
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
        results = [ctypes.c_void_p(a.ctypes.data) for a in last]
        scalars = ctypes.c_float(CUTOFF**2), ctypes.c_float(INTERVALS / CUTOFF**2)
        self.function(ctypes.c_int64(self.n), *pointers, *scalars, *results)
        return torch.from_numpy(self.potentials), torch.from_numpy(self.forces)


def step_times(name: str) -> dict[str, Any]:
    """Return processor times of a step of 504 atoms of water, ms, and their ratios to the step without the term."""
    kernel = CPUKernel(load(name, device="cpu", dtype="float32").model)
    batch = SYSTEMS["water 504"]().to(dtype=torch.float32)
    edges = find_neighbors(batch, kernel.model.cutoff)
    pairs = PairSum(batch)
    charges = kernel.evaluate(batch, edges, ("charges",)).charges
    assert charges is not None

    def with_term() -> None:
        found = kernel.evaluate(batch, edges, ("charges",)).charges
        assert found is not None
        phi, fixed = pairs(batch, found)
        result = kernel.evaluate_in_field(batch, edges, phi)
        assert result.forces is not None
        result.forces.add_(fixed)

    cases: dict[str, Callable[[], object]] = {
        "without": lambda: kernel.evaluate(batch, edges, ("energy", "forces")),
        "with": with_term,
        "charges alone": lambda: kernel.evaluate(batch, edges, ("charges",)),
        "pair sum alone": lambda: pairs(batch, charges),
    }
    times: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(ROUNDS):
        for case, action in cases.items():
            start = time.process_time()
            action()
            times[case].append(1e3 * (time.process_time() - start))
    ratio = {
        case: statistics.median(a / b for a, b in zip(found, times["without"], strict=True))
        for case, found in times.items()
    }
    return {
        "pairs_within_13_angstrom": pairs.n_pairs,
        "ms": {case: statistics.median(found) for case, found in times.items()},
        "ratio": ratio,
        "ratio_if_the_forward_pass_is_kept": 1.0 + ratio["pair sum alone"],
    }
