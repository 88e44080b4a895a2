"""Every check and timing of the GPU kernels in one command, for an hour with a lent GPU.

    python benchmarks/gpu.py --out FOLDER [--sections latency,throughput,…]

    TRITON_INTERPRET=1 python benchmarks/gpu.py --dry-run --out FOLDER

Each section writes ``FOLDER/gpu.json`` anew when it ends. A section that fails leaves its error there and the next one
begins; the exit status is 1 if one did or a check was outside its tolerance. Times are medians of the wall clock after
a warm-up, the host waiting for the GPU after each call. ``--dry-run`` does all of it at tiny sizes on a CPU, in the
interpreter of Triton: it shows that this script works, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mlff_core
from mlff_core.batch import AtomicBatch, concatenate, single
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.kernels.triton.arrays import Tiling
from mlff_core.kernels.triton.graph import Graph
from mlff_core.kernels.triton.kernel import TritonKernel
from mlff_core.kernels.triton.parameters import read_parameters
from mlff_core.kernels.triton.search import NeighborSearch
from mlff_core.kernels.triton.stepper import Stepper
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.neighbors import find_neighbors

BUDGET_S = 450.0
"""No section begins after this."""
ALL = ("energy", "forces", "stress", "atom_energies")


def _systems() -> Any:
    """Return the module of the CPU kernel's benchmark, whose systems are used here too."""
    spec = importlib.util.spec_from_file_location("cpu_kernel", Path(__file__).with_name("cpu_kernel.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bench:
    """What the sections share: device, sizes, and the structures."""

    def __init__(self, *, dry: bool) -> None:
        self.dry = dry
        self.device = torch.device("cpu" if dry else "cuda:0")
        self.config = PaiNNConfig(hidden=16, n_layers=2, n_radial=6, cutoff=2.5) if dry else PRESETS["original"]
        self.systems = _systems()

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
        return self.systems.molecule(4 if self.dry else n_atoms, seed)

    def molecules(self, n: int, n_atoms: int) -> AtomicBatch:
        """Return a batch of molecules."""
        # Sixteen different ones, each many times: making thousands takes longer than computing them.
        different = [self.molecule(n_atoms, seed) for seed in range(min(n, 16))]
        return concatenate([different[k % len(different)] for k in range(2 if self.dry else n)])

    def water(self, n_molecules: int) -> AtomicBatch:
        """Return periodic water."""
        return self.systems.water(1 if self.dry else n_molecules)

    def wait(self) -> None:
        """Wait for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def wall_ms(self, step: Callable[[], object], repeats: int) -> dict[str, float]:
        """Return median and quartiles of the wall time of one call, ms."""
        repeats = 2 if self.dry else repeats
        for _ in range(0 if self.dry else 5):
            step()
        times = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            step()
            self.wait()
            times.append(1e3 * (time.perf_counter() - start))
        low, middle, high = statistics.quantiles(times, n=4)
        return {"median_ms": middle, "quartile_low_ms": low, "quartile_high_ms": high, "repeats": repeats}


def _relative(given: torch.Tensor, truth: torch.Tensor) -> float:
    return float((given.double() - truth.double()).abs().max() / truth.double().abs().max().clamp(min=1e-12))


def _checked(rows: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return the rows, each with whether its error is within its limit."""
    # `not >` would let NaN pass.
    done = {name: {**row, "ok": bool(row["error"] <= row["limit"])} for name, row in rows.items()}
    return {"ok": all(row["ok"] for row in done.values()), "rows": done}


def kernel_and_reference(bench: Bench) -> dict[str, Any]:
    """Kernel and reference: forces, stress and energies in float64, float32 and the fast mode."""
    exact = bench.model(torch.float64)
    batches = {"molecule": bench.molecule(50), "water": bench.water(64)}
    if not bench.dry:
        tiny = single(np.diag([0.3, 1.4, 2.9]), [8, 1, 6], np.eye(3) * 3.2 + 0.3, True)
        alone = single([[0.0, 0.0, 0.0]], [6])
        batches |= {"cell smaller than the cutoff": tiny, "one atom": alone}
        batches["batch"] = concatenate([bench.molecule(13, 1), alone, tiny, bench.molecule(60, 2)])
    rows: dict[str, dict[str, float]] = {}
    for name, batch in batches.items():
        at = bench.on(batch, torch.float64)
        edges = find_neighbors(at, bench.config.cutoff)
        truth = ReferenceKernel(exact).evaluate(at, edges, ALL)
        for kind, dtype, fast, limit in (
            ("float64", torch.float64, False, 1e-9),
            ("float32", torch.float32, False, 1e-5),
            ("fast", torch.float32, True, 3e-3),
        ):
            kernel = TritonKernel(bench.model(dtype), fast=fast)
            low = bench.on(batch, dtype)
            given = kernel.evaluate(low, edges.to(dtype=dtype), ALL)
            assert given.forces is not None
            assert given.stress is not None
            assert truth.forces is not None
            assert truth.stress is not None
            forces = _relative(given.forces, truth.forces) if float(truth.forces.abs().max()) > 1e-6 else 0.0
            rows[f"{name}, {kind}, forces"] = {"error": forces, "limit": limit}
            if bool(truth.stress.isfinite().all()):
                rows[f"{name}, {kind}, stress"] = {"error": _relative(given.stress, truth.stress), "limit": 3 * limit}
            rows[f"{name}, {kind}, energy"] = {"error": _relative(given.energy, truth.energy), "limit": limit}
            again = kernel.evaluate(low, edges.to(dtype=dtype), ALL)
            assert again.forces is not None
            rows[f"{name}, {kind}, same bits"] = {
                "error": float(not torch.equal(again.forces, given.forces)),
                "limit": 0,
            }
    return _checked(rows)


def finite_differences(bench: Bench) -> dict[str, Any]:
    """Compare forces with the slope of the kernel's own energy, in float64."""
    batch = bench.on(bench.molecule(20), torch.float64)
    kernel, edges = TritonKernel(bench.model(torch.float64)), find_neighbors(batch, bench.config.cutoff + 1)
    forces = kernel.evaluate(batch, edges, ("forces",)).forces
    assert forces is not None
    step, worst = 1e-4, 0.0
    for k in range(3 if bench.dry else 30):
        shift = torch.zeros_like(batch.positions)
        shift.view(-1)[k] = step
        up = kernel.evaluate(batch.with_positions(batch.positions + shift), edges, ()).energy
        down = kernel.evaluate(batch.with_positions(batch.positions - shift), edges, ()).energy
        worst = max(worst, abs(float((down - up).sum()) / (2 * step) - float(forces.reshape(-1)[k])))
    return _checked({"forces": {"error": worst / float(forces.abs().max()), "limit": 1e-6}})


def neighbor_search(bench: Bench) -> dict[str, Any]:
    """Neighbours found on the GPU and by the library: how many pairs differ, and how long a search takes."""
    cutoff = bench.config.cutoff + 0.5
    batches = {"molecules": bench.molecules(8, 50), "water": bench.water(333), "large water": bench.water(1000)}
    rows, times = {}, {}
    for name, batch in list(batches.items())[: 1 if bench.dry else None]:
        at = bench.on(batch, torch.float64)
        search = NeighborSearch(at, cutoff)
        slots = search.find(at.positions)
        edges = find_neighbors(at, cutoff)
        counts = torch.bincount(edges.centers, minlength=at.n_atoms)
        wrong = int((counts != slots.n_candidates).sum())
        for i in range(0, at.n_atoms, max(1, at.n_atoms // 50)):
            here = edges.centers == i
            wrong += sorted(edges.neighbors[here].tolist()) != sorted(slots.candidates[i, : int(counts[i])].tolist())
        used = torch.arange(slots.capacity, device=bench.device)[None] < slots.n_candidates[:, None]
        wrong += int((slots.reverse[used] < 0).sum())
        rows[name] = {"error": float(wrong), "limit": 0.0}
        times[name] = bench.wall_ms(
            lambda search=search, at=at, slots=slots: search.fill(search.sort(at.positions), slots), 20
        )
    return {**_checked(rows), "times": times}


def graph_and_plain(bench: Bench) -> dict[str, Any]:
    """One CUDA graph and the same kernels started one by one: the same bits, and the time of each."""
    stepper = bench.stepper(bench.molecule(50))
    plain, graph = Graph(partial(stepper._evaluate, False), bench.device, captures=False), stepper._evaluation(False)
    graph()  # a plain one, as every first call
    given, truth = graph(), plain()
    rows = {"forces": {"error": float(not torch.equal(given.forces, truth.forces)), "limit": 0.0}}
    return {**_checked(rows), "graph": bench.wall_ms(graph, 200), "plain": bench.wall_ms(plain, 50)}


def conservation(bench: Bench) -> dict[str, Any]:
    """Short NVE runs of one molecule with random weights: the drift of the energy in each mode."""
    result = {}
    n_steps = 3 if bench.dry else 4000
    for mode, dtype, fast in (
        ("float64", torch.float64, False), ("float32", torch.float32, False), ("fast", torch.float32, True),
    ):  # fmt: skip
        model = bench.model(dtype)
        model.scale.fill_(0.05)  # random forces of a few tenths of an eV/Å
        batch = bench.on(bench.molecule(20), dtype)
        stepper = Stepper(read_parameters(model, fast=fast), batch)
        energies = _run_nve(stepper, batch, n_steps, timestep=0.02)
        tail = energies[len(energies) // 4 :]
        slope = np.polyfit(np.arange(len(tail)), tail, 1)[0] if len(tail) > 1 else 0.0
        result[mode] = {
            "n_steps": n_steps,
            "drift_mev_per_atom_per_1000_steps": 1e6 * float(slope) / batch.n_atoms,
            "fluctuation_mev_per_atom": 1e3 * float(np.std(tail)) / batch.n_atoms,
        }
    return result


def _run_nve(stepper: Stepper, batch: AtomicBatch, n_steps: int, timestep: float) -> np.ndarray:
    """Return the total energy, eV, at each step of a velocity-Verlet run from rest; the time step is in Å·√(amu/eV)."""
    masses = 2.0 * batch.atomic_numbers.to(batch.dtype).unsqueeze(1)
    positions, velocities = batch.positions.clone(), torch.zeros_like(batch.positions)
    forces = stepper.step(positions).forces
    energies = []
    for _ in range(n_steps):
        assert forces is not None
        velocities += 0.5 * timestep * forces / masses
        positions += timestep * velocities
        given = stepper.step(positions)
        forces = given.forces
        assert forces is not None
        velocities += 0.5 * timestep * forces / masses
        energies.append(given.energy.sum() + 0.5 * (masses * velocities**2).double().sum())
    return torch.stack(energies).cpu().numpy()


def _moving(bench: Bench, batch: AtomicBatch, repeats: int, *, fast: bool, **options: Any) -> dict[str, Any]:
    """Return the time of whole steps with moving atoms, neighbours included, and atoms a second."""
    at = bench.on(batch)
    stepper = bench.stepper(batch, fast=fast, **options)
    path = [at.positions + 0.01 * torch.randn_like(at.positions) for _ in range(4)]
    count = iter(range(10**9))
    times = bench.wall_ms(lambda: stepper.step(path[next(count) % 4]), repeats)
    return {
        **times,
        "n_atoms": at.n_atoms,
        "capacity": stepper.capacity,
        "searches": stepper.n_searches,
        "search": bench.wall_ms(stepper._rebuild, 5) if not stepper.searches_every_step else "in each step",
        "atoms_per_s": 1e3 * at.n_atoms / times["median_ms"],
        **_memory(bench),
    }


def _memory(bench: Bench) -> dict[str, float]:
    if bench.device.type != "cuda":
        return {}
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.reset_peak_memory_stats()
    return {"peak_mib": peak}


def latency(bench: Bench) -> dict[str, Any]:
    """50 atoms: whole steps through the stepper, by tiling, and through a kernel that is given its edges."""
    molecule = bench.molecule(50)
    result: dict[str, Any] = {}
    for mode in ("float32",) if bench.dry else ("float32", "fast"):
        result[mode] = _moving(bench, molecule, 300, fast=mode == "fast")
        result[f"{mode}, skin of 1 Å"] = _moving(bench, molecule, 300, fast=mode == "fast", skin=1.0)
    batch = bench.on(molecule)
    edges, kernel = find_neighbors(batch, bench.config.cutoff + 1), TritonKernel(bench.model())
    result["kernel"] = bench.wall_ms(lambda: kernel.evaluate(batch, edges, ("forces",)), 200)
    reference = ReferenceKernel(bench.model())
    result["reference"] = bench.wall_ms(lambda: reference.evaluate(batch, edges, ("forces",)), 50)
    for edges_, channels, warps in (
        () if bench.dry else ((16, 16, 2), (16, 32, 4), (32, 32, 4), (16, 64, 4), (32, 128, 8))
    ):
        tiling = Tiling(edges_, channels, 1, warps)
        result[f"float32, {tiling}"] = _moving(bench, molecule, 200, fast=False, tiling=tiling)
    return result


def throughput(bench: Bench) -> dict[str, Any]:
    """100,000 atoms of periodic water under a skin, by mode and by tiling."""
    water = bench.water(33_333)
    result: dict[str, Any] = {}
    for mode in ("float32", "fast"):
        result[mode] = _moving(bench, water, 20, fast=mode == "fast")
        for shape in (
            () if bench.dry else ((16, 128, 1, 8), (16, 128, 4, 4), (32, 128, 4, 8), (16, 64, 4, 4), (32, 64, 8, 4))
        ):
            tiling = Tiling(*shape)
            try:
                result[f"{mode}, {tiling}"] = _moving(bench, water, 6, fast=mode == "fast", tiling=tiling)
            except Exception as error:
                result[f"{mode}, {tiling}"] = {"error": repr(error)}
    return result


def many_molecules(bench: Bench) -> dict[str, Any]:
    """2,000 molecules of 50 atoms in one batch: velocity-Verlet steps, neighbours included."""
    result = {}
    for mode in ("float32", "fast"):
        model = bench.model()
        model.scale.fill_(0.05)
        batch = bench.on(bench.molecules(2000, 50))
        stepper = Stepper(read_parameters(model, fast=mode == "fast"), batch)
        _run_nve(stepper, batch, 2, timestep=0.01)
        bench.wait()
        start, n_steps = time.perf_counter(), 2 if bench.dry else 200
        _run_nve(stepper, batch, n_steps, timestep=0.01)
        seconds = time.perf_counter() - start
        result[mode] = {
            "n_atoms": batch.n_atoms,
            "ms_per_step": 1e3 * seconds / n_steps,
            "atoms_per_s": batch.n_atoms * n_steps / seconds,
            **_memory(bench),
        }
    return result


def training(bench: Bench) -> dict[str, Any]:
    """Atoms a second of the trainer's step, by kind; labels are random unless a data set is given."""
    import contextlib

    from mlff_core.data.loader import TrainingBatch
    from mlff_core.data.structure import LabelledBatch
    from mlff_core.distill.loss import LossConfig
    from mlff_core.distill.step import GradientStep

    batch = bench.on(bench.molecules(100, 41))
    labels = _labels(LabelledBatch, batch)
    item = TrainingBatch(labels, find_neighbors(batch, bench.config.cutoff), batch.n_systems)
    result = {}
    for kind in ("double-backward", "finite-difference") if bench.dry else (
        "double-backward", "finite-difference", "compiled",
    ):  # fmt: skip
        model = bench.model().requires_grad_(True)
        step = GradientStep(model, LossConfig(), kind, contextlib.nullcontext)
        try:
            times = bench.wall_ms(lambda step=step: step(item, lambda weights: weights), 20)
            result[kind] = {**times, "atoms_per_s": 1e3 * batch.n_atoms / times["median_ms"], **_memory(bench)}
        except Exception as error:
            result[kind] = {"error": repr(error)}
    return result


def _labels(kind: Any, batch: AtomicBatch) -> Any:
    """Return random labels for a batch."""
    noise = torch.Generator().manual_seed(0)
    given = {
        "batch": batch,
        "energy": torch.randn(batch.n_systems, generator=noise, dtype=torch.float64).to(batch.device),
        "forces": torch.randn(batch.n_atoms, 3, generator=noise).to(batch.device, batch.dtype),
        "index": torch.arange(batch.n_systems, device=batch.device),
    }
    return kind(**given)


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "kernel_and_reference": kernel_and_reference,
    "finite_differences": finite_differences,
    "neighbor_search": neighbor_search,
    "graph_and_plain": graph_and_plain,
    "latency": latency,
    "throughput": throughput,
    "many_molecules": many_molecules,
    "conservation": conservation,
    "training": training,
}
"""In the order in which they matter."""


def machine(bench: Bench) -> dict[str, Any]:
    """Return where and with what this runs."""
    import triton

    folder = Path(__file__).parent
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    ).stdout
    gpu = torch.cuda.get_device_properties(0) if bench.device.type == "cuda" else None
    return {
        "device": str(gpu) if gpu else f"none (dry run on {platform.machine()})",
        "versions": {
            "mlff": mlff_core.__version__, "torch": torch.__version__, "triton": triton.__version__,
            "cuda": torch.version.cuda, "python": platform.python_version(),
        },
        "commit": commit.strip(),
        "dry_run": bench.dry,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"), help="folder for gpu.json; else $OUT")
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    if given.out is None:
        parser.error("--out FOLDER, or the environment variable OUT, must say where gpu.json goes")
    if not given.dry_run and not torch.cuda.is_available():
        parser.error("no CUDA GPU is here; --dry-run does everything at tiny sizes on the CPU")
    if given.dry_run and os.environ.get("TRITON_INTERPRET") != "1":
        parser.error("a dry run needs TRITON_INTERPRET=1 in the environment")
    unknown = set(given.sections.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"no section is called {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    path = Path(given.out) / "gpu.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(dry=given.dry_run)
    record: dict[str, Any] = {"machine": machine(bench), "sections": {}}
    begun, good = time.perf_counter(), True
    for name in given.sections.split(","):
        start = time.perf_counter()
        if start - begun > BUDGET_S:
            outcome: dict[str, Any] = {"error": f"not begun: {BUDGET_S:.0f} s were over"}
        else:
            try:
                outcome = SECTIONS[name](bench)
            except Exception:
                outcome = {"error": traceback.format_exc(limit=-4)}
        outcome["seconds"] = round(time.perf_counter() - start, 2)
        record["sections"][name] = outcome
        good &= outcome.get("ok", True) and "error" not in outcome
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record, indent=1))
        part.replace(path)
        if "error" in outcome:
            said = str(outcome["error"]).strip().splitlines()[-1]
        else:
            wrong = [row for row, values in outcome.get("rows", {}).items() if not values["ok"]]
            said = f"outside: {wrong}" if wrong else "ok"
        print(f"{name}: {said} ({outcome['seconds']} s)", flush=True)
        if bench.device.type == "cuda" and "error" in outcome:
            torch.cuda.empty_cache()
    print(path)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
