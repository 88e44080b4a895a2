"""Every check, test and timing of the GPU kernels in one command, for half an hour with a lent GPU.

    python benchmarks/gpu.py --out FOLDER [--sections latency,throughput,…] [--budget-s 450]

    TRITON_INTERPRET=1 python benchmarks/gpu.py --dry-run --out FOLDER

Each section writes ``FOLDER/gpu.json`` anew when it ends. A section has a share of the budget, and all of them end with
it: what was measured till then is kept. One that fails leaves its error there and the next one begins; the exit status
is 1 if one did, ran out of time or found a check outside its tolerance. Times are medians of the wall clock after a
warm-up, the host waiting for the GPU after each call. ``--dry-run`` does all of it at tiny sizes on a CPU, in the
interpreter of Triton: it shows that this script works, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mlff_core
from mlff_core.card import ModelCard
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.kernels.triton.arrays import Tiling
from mlff_core.kernels.triton.cuda_graph import Graph
from mlff_core.kernels.triton.kernel import TritonKernel
from mlff_core.kernels.triton.parameters import read_parameters
from mlff_core.kernels.triton.search import NeighborSearch
from mlff_core.kernels.triton.stepper import Stepper
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch, concatenate, single
from mlff_core.structures.neighbors import find_neighbors

BUDGET_S = 450.0
"""Of all sections together; what cannot be interrupted, a compilation above all, may add some seconds."""
DRY_BUDGET_S = 86_400.0
GRACE_S = 10.0
"""What has not looked at the clock by so long after its end is interrupted."""
ENOUGH = 10
"""Repeats that are worth keeping where the time is over before the last one."""
COMPILATION_S = 90.0
"""What torch.compile may need for the training graph."""
MODES = ("float32", "fast")
ALL = ("energy", "forces", "stress", "atom_energies")


class OutOfTimeError(Exception):
    """The section's share of the time, or all of it, is used up."""


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

    def __init__(self, *, dry: bool, budget_s: float = BUDGET_S) -> None:
        self.dry = dry
        self.budget_s = budget_s
        self.end = time.monotonic() + budget_s
        self.deadline = self.end
        self.device = torch.device("cpu" if dry else "cuda:0")
        self.config = PaiNNConfig(hidden=16, n_layers=2, n_radial=6, cutoff=2.5) if dry else PRESETS["original"]
        self.systems = _systems()

    def begin(self, share: float) -> None:
        """Give a section its share of the budget, or what is left."""
        self.deadline = min(self.end, time.monotonic() + share * self.budget_s)
        self.check()

    def left_s(self) -> float:
        """Return the seconds that the section has left."""
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """End the section where its time is over."""
        if self.left_s() <= 0:
            raise OutOfTimeError

    def student(self, *, fast: bool) -> StudentPotential:
        """Return the network as a potential, its surface nearly flat so that a run with random weights holds together.

        The kernel is named, so that a GPU's default is not taken for granted.
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
        return _spread(times)


def _spread(times_s: list[float]) -> dict[str, float]:
    """Return median and quartiles of times in seconds, in ms."""
    low, middle, high = (1e3 * time for time in statistics.quantiles(times_s, n=4))
    return {"median_ms": middle, "quartile_low_ms": low, "quartile_high_ms": high, "repeats": len(times_s)}


def _relative(given: torch.Tensor, truth: torch.Tensor) -> float:
    return float((given.double() - truth.double()).abs().max() / truth.double().abs().max().clamp(min=1e-12))


def _check(result: dict[str, Any], name: str, error: float, limit: float) -> None:
    """Add a row to the section's checks."""
    # `not >` would let NaN pass.
    row = {"error": error, "limit": limit, "ok": bool(error <= limit)}
    result.setdefault("rows", {})[name] = row


def kernel_and_reference(bench: Bench, result: dict[str, Any]) -> None:
    """Kernel and reference: forces, stress and energies in float64, float32 and the fast mode."""
    exact = bench.model(torch.float64)
    batches = {"molecule": bench.molecule(50), "water": bench.water(64)}
    if not bench.dry:
        tiny = single(np.diag([0.3, 1.4, 2.9]), [8, 1, 6], np.eye(3) * 3.2 + 0.3, True)
        alone = single([[0.0, 0.0, 0.0]], [6])
        batches |= {"cell smaller than the cutoff": tiny, "one atom": alone}
        batches["batch"] = concatenate([bench.molecule(13, 1), alone, tiny, bench.molecule(60, 2)])
    for name, batch in batches.items():
        at = bench.on(batch, torch.float64)
        edges = find_neighbors(at, bench.config.cutoff)
        truth = ReferenceKernel(exact).evaluate(at, edges, ALL)
        for kind, dtype, fast, limit in (
            ("float64", torch.float64, False, 1e-9),
            ("float32", torch.float32, False, 1e-5),
            ("fast", torch.float32, True, 3e-3),
        ):
            bench.check()
            kernel = TritonKernel(bench.model(dtype), fast=fast)
            low = bench.on(batch, dtype)
            given = kernel.evaluate(low, edges.to(dtype=dtype), ALL)
            assert given.forces is not None
            assert given.stress is not None
            assert truth.forces is not None
            assert truth.stress is not None
            forces = _relative(given.forces, truth.forces) if float(truth.forces.abs().max()) > 1e-6 else 0.0
            _check(result, f"{name}, {kind}, forces", forces, limit)
            if bool(truth.stress.isfinite().all()):
                _check(result, f"{name}, {kind}, stress", _relative(given.stress, truth.stress), 3 * limit)
            _check(result, f"{name}, {kind}, energy", _relative(given.energy, truth.energy), limit)
            again = kernel.evaluate(low, edges.to(dtype=dtype), ALL)
            assert again.forces is not None
            _check(result, f"{name}, {kind}, same bits", float(not torch.equal(again.forces, given.forces)), 0.0)


def finite_differences(bench: Bench, result: dict[str, Any]) -> None:
    """Compare forces with the slope of the kernel's own energy, in float64."""
    batch = bench.on(bench.molecule(20), torch.float64)
    kernel, edges = TritonKernel(bench.model(torch.float64)), find_neighbors(batch, bench.config.cutoff + 1)
    forces = kernel.evaluate(batch, edges, ("forces",)).forces
    assert forces is not None
    step, worst = 1e-4, 0.0
    for k in range(3 if bench.dry else 30):
        bench.check()
        shift = torch.zeros_like(batch.positions)
        shift.view(-1)[k] = step
        up = kernel.evaluate(batch.with_positions(batch.positions + shift), edges, ()).energy
        down = kernel.evaluate(batch.with_positions(batch.positions - shift), edges, ()).energy
        worst = max(worst, abs(float((down - up).sum()) / (2 * step) - float(forces.reshape(-1)[k])))
    _check(result, "forces", worst / float(forces.abs().max()), 1e-6)


def neighbor_search(bench: Bench, result: dict[str, Any]) -> None:
    """Neighbours found on the GPU and by the library: how many pairs differ, and how long a search takes."""
    cutoff = bench.config.cutoff + 0.5
    batches = {"molecules": bench.molecules(8, 50), "water": bench.water(333), "large water": bench.water(1000)}
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
        _check(result, name, float(wrong), 0.0)
        result.setdefault("times", {})[name] = bench.wall_ms(
            lambda search=search, at=at, slots=slots: search.fill(search.sort(at.positions), slots), 20
        )


def graph_and_plain(bench: Bench, result: dict[str, Any]) -> None:
    """One CUDA graph and the same kernels started one by one: the same bits, and the time of each."""
    stepper = bench.stepper(bench.molecule(50))
    plain, graph = Graph(partial(stepper._evaluate, False), bench.device, captures=False), stepper._evaluation(False)
    graph()  # a plain one, as every first call
    given, truth = graph(), plain()
    _check(result, "forces", float(not torch.equal(given.forces, truth.forces)), 0.0)
    result["graph"] = bench.wall_ms(graph, 200)
    result["plain"] = bench.wall_ms(plain, 50)


def conservation(bench: Bench, result: dict[str, Any]) -> None:
    """Short NVE runs of one molecule with random weights: the drift of the energy in each mode."""
    n_steps = 3 if bench.dry else 4000
    for mode, dtype, fast in (
        ("float64", torch.float64, False), ("float32", torch.float32, False), ("fast", torch.float32, True),
    ):  # fmt: skip
        model = bench.model(dtype)
        model.scale.fill_(0.05)  # random forces of a few tenths of an eV/Å
        batch = bench.on(bench.molecule(20), dtype)
        stepper = Stepper(read_parameters(model, fast=fast), batch)
        energies = _run_nve(bench, stepper, batch, n_steps, timestep=0.02)
        tail = energies[len(energies) // 4 :]
        slope = np.polyfit(np.arange(len(tail)), tail, 1)[0] if len(tail) > 1 else 0.0
        result[mode] = {
            "n_steps": n_steps,
            "drift_mev_per_atom_per_1000_steps": 1e6 * float(slope) / batch.n_atoms,
            "fluctuation_mev_per_atom": 1e3 * float(np.std(tail)) / batch.n_atoms,
        }


def _run_nve(bench: Bench, stepper: Stepper, batch: AtomicBatch, n_steps: int, timestep: float) -> np.ndarray:
    """Return the total energy, eV, at each step of a velocity-Verlet run from rest; the time step is in Å·√(amu/eV)."""
    masses = 2.0 * batch.atomic_numbers.to(batch.dtype).unsqueeze(1)
    positions, velocities = batch.positions.clone(), torch.zeros_like(batch.positions)
    forces = stepper.step(positions).forces
    energies = []
    for _ in range(n_steps):
        bench.check()
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


def latency(bench: Bench, result: dict[str, Any]) -> None:
    """50 atoms: whole steps through the stepper, through a potential, and through a kernel that is given its edges."""
    molecule = bench.molecule(50)
    for mode in MODES[: 1 if bench.dry else None]:
        result[mode] = _moving(bench, molecule, 300, fast=mode == "fast")
        result[f"{mode}, skin of 1 Å"] = _moving(bench, molecule, 300, fast=mode == "fast", skin=1.0)
    batch, running, count = bench.on(molecule), VerletPotential(bench.student(fast=False)), iter(range(10**9))
    path = [batch.with_positions(batch.positions + 0.01 * torch.randn_like(batch.positions)) for _ in range(4)]
    result["potential"] = bench.wall_ms(lambda: running.predict(path[next(count) % 4]), 200)
    edges, kernel = find_neighbors(batch, bench.config.cutoff + 1), TritonKernel(bench.model())
    result["kernel"] = bench.wall_ms(lambda: kernel.evaluate(batch, edges, ("forces",)), 200)
    reference = ReferenceKernel(bench.model())
    result["reference"] = bench.wall_ms(lambda: reference.evaluate(batch, edges, ("forces",)), 50)


def throughput(bench: Bench, result: dict[str, Any]) -> None:
    """100,000 atoms of periodic water under a skin, by mode."""
    water = bench.water(33_333)
    for mode in MODES:
        result[mode] = _moving(bench, water, 20, fast=mode == "fast")


def tilings(bench: Bench, result: dict[str, Any]) -> None:
    """Time steps of the molecule and of the water by how their work is divided: what to make the default of."""
    molecule, water = bench.molecule(50), bench.water(33_333)
    small = [
        Tiling(*shape) for shape in ((16, 16, 1, 2), (16, 32, 1, 4), (32, 32, 1, 4), (16, 64, 1, 4), (32, 128, 1, 8))
    ]
    large = [
        Tiling(*shape) for shape in ((16, 128, 1, 8), (16, 128, 4, 4), (32, 128, 4, 8), (16, 64, 4, 4), (32, 64, 8, 4))
    ]
    for mode in MODES:
        for name, batch, repeats, shapes in (("molecule", molecule, 100, small), ("water", water, 6, large)):
            for tiling in shapes[: 1 if bench.dry else None]:
                try:
                    row = _moving(bench, batch, repeats, fast=mode == "fast", tiling=tiling)
                except (RuntimeError, ValueError) as error:  # one that does not fit into the GPU's shared memory
                    row = {"error": repr(error)}
                result[f"{name}, {mode}, {tiling}"] = row


def many_molecules(bench: Bench, result: dict[str, Any]) -> None:
    """2,000 molecules of 50 atoms in one batch: MD by torch-sim and by our driver, and the stepper alone."""
    batch = bench.on(bench.molecules(2000, 50))
    runs = {"torch-sim": _through_torch_sim, "replicas": _through_replicas, "stepper": _through_stepper}
    for name, run in runs.items():
        for mode in MODES[: 1 if bench.dry else None]:
            moments: list[float] = []
            try:
                run(bench, batch, mode, moments)
            except ImportError as error:
                result[f"{name}, {mode}"] = {"error": f"not installed: {error}"}
                continue
            # The first steps compile kernels and capture graphs.
            steps = np.diff(moments)[0 if bench.dry else 5 :].tolist()
            times = _spread(steps)
            result[f"{name}, {mode}"] = {
                **times,
                "n_atoms": batch.n_atoms,
                "atoms_per_s": 1e3 * batch.n_atoms / times["median_ms"],
                "mean_atoms_per_s": batch.n_atoms * len(steps) / sum(steps),
                **_memory(bench),
            }


def _through_torch_sim(bench: Bench, batch: AtomicBatch, mode: str, moments: list[float]) -> None:
    """Run torch-sim's integrator at constant energy, and note when it asks for forces."""
    import torch_sim

    from mlff_plugins.torchsim import TorchSimModel
    from mlff_plugins.torchsim.convert import state_from_batch

    class Noted(TorchSimModel):
        def forward(self, state: Any, **options: Any) -> dict[str, torch.Tensor]:
            bench.check()
            moments.append(time.perf_counter())
            return super().forward(state, **options)

    nve = torch_sim.Integrator.nve if hasattr(torch_sim, "Integrator") else torch_sim.nve
    torch.manual_seed(0)
    torch_sim.integrate(
        state_from_batch(batch), Noted(bench.student(fast=mode == "fast")), integrator=nve,
        n_steps=2 if bench.dry else 100, timestep=0.0005, temperature=30.0,
    )  # fmt: skip


def _through_replicas(bench: Bench, batch: AtomicBatch, mode: str, moments: list[float]) -> None:
    """Run what ``mlff md --replicas`` runs, under its thermostat, and note when each step ends."""
    from ase import Atoms

    from mlff_core.dynamics import MDSettings, run_replicas

    numbers, positions = batch.atomic_numbers.cpu().numpy(), batch.positions.cpu().double().numpy()
    ends = np.cumsum(batch.atoms_per_system())[:-1]
    frames = [Atoms(*given) for given in zip(np.split(numbers, ends), np.split(positions, ends), strict=True)]
    n_steps = 3 if bench.dry else 100
    settings = MDSettings(
        "nvt", n_steps=n_steps, timestep_fs=0.5, temperature_kelvin=30.0,
        log_every=n_steps, frame_every=n_steps, checkpoint_every=n_steps,
    )  # fmt: skip

    def note(step: int) -> None:
        bench.check()
        if step < n_steps:  # the last one writes files
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        run_replicas(bench.student(fast=mode == "fast"), frames, settings, folder, on_step=note)


def _through_stepper(bench: Bench, batch: AtomicBatch, mode: str, moments: list[float]) -> None:
    """Evaluate moving atoms and nothing else."""
    stepper = bench.student(fast=mode == "fast").stepper(batch, 1.0, None)
    assert stepper is not None
    path = [batch.positions + 0.01 * torch.randn_like(batch.positions) for _ in range(4)]
    for k in range(3 if bench.dry else 60):
        bench.check()
        moments.append(time.perf_counter())
        stepper.step(path[k % 4], batch.cell, stress=False)


def training(bench: Bench, result: dict[str, Any]) -> None:
    """Atoms a second of whole training steps, the optimizer's included, by kind and precision; labels are random."""
    import contextlib

    from mlff_core.data.loader import TrainingBatch
    from mlff_core.data.structure import LabelledBatch
    from mlff_core.training.loss import LossConfig
    from mlff_core.training.settings import DataSection, TrainConfig
    from mlff_core.training.state import Learner
    from mlff_core.training.step import GradientStep

    config = TrainConfig(data=DataSection(path=Path("random.h5")))
    kinds = [("finite-difference", "float32"), ("double-backward", "float32")]
    if not bench.dry:
        kinds += [(kind, precision) for precision in ("tf32", "bf16") for kind, _ in kinds[:2]] + [("compiled", "tf32")]
    for n_structures in (100, 400)[: 1 if bench.dry else None]:
        batch = bench.on(bench.molecules(n_structures, 41))
        edges = find_neighbors(batch, bench.config.cutoff)
        item = TrainingBatch(_labels(LabelledBatch, batch), edges, batch.n_systems)
        for kind, precision in kinds:
            name = f"{kind}, {precision}, {n_structures} structures"
            if kind == "compiled" and bench.left_s() < COMPILATION_S:
                result[name] = {"skipped": "too little time is left to compile it"}
                continue
            model = bench.model().requires_grad_(True)
            learner = Learner(model, "", config)
            in_bf16 = partial(torch.autocast, bench.device.type, torch.bfloat16)
            step = GradientStep(model, LossConfig(), kind, in_bf16 if precision == "bf16" else contextlib.nullcontext)

            def take(step: GradientStep = step, learner: Learner = learner, item: TrainingBatch = item) -> None:
                learner.optimizer.zero_grad(set_to_none=True)
                step(item, lambda weights: weights)
                learner.update(1.0)

            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("high" if precision == "tf32" else before)
            try:
                times = bench.wall_ms(take, 20)
                result[name] = {**times, "atoms_per_s": 1e3 * batch.n_atoms / times["median_ms"], **_memory(bench)}
            except RuntimeError as error:  # out of memory, or what torch.compile does not compile
                result[name] = {"error": repr(error)}
            finally:
                torch.set_float32_matmul_precision(before)


def tests(bench: Bench, result: dict[str, Any]) -> None:
    """The tests that are marked to need a GPU, in a process of their own."""
    root = Path(__file__).parents[1]
    marked = sorted(
        str(path.relative_to(root)) for path in (root / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text()
    )
    # Warnings of other versions of torch or NumPy than those developed with shall not fail them.
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider", *marked]
    if not bench.dry and importlib.util.find_spec("xdist") is not None:
        command += ["-n", "8"]  # most of their time goes into compiling kernels, on the host
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=False,
            timeout=max(1.0, bench.left_s()), env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        result["output"] = (said if isinstance(said, str) else said.decode())[-4000:]
        raise OutOfTimeError from error
    result["output"] = done.stdout[-4000:] + done.stderr[-1000:]
    # Without a GPU all are skipped, which pytest calls 5.
    _check(result, "exit status", float(0 if bench.dry and done.returncode == 5 else done.returncode), 0.0)


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


Section = Callable[[Bench, dict[str, Any]], None]
SECTIONS: dict[str, tuple[Section, float]] = {
    "kernel_and_reference": (kernel_and_reference, 0.25),
    "latency": (latency, 0.1),
    "throughput": (throughput, 0.15),
    "many_molecules": (many_molecules, 0.25),
    "training": (training, 0.35),
    "finite_differences": (finite_differences, 0.05),
    "neighbor_search": (neighbor_search, 0.1),
    "graph_and_plain": (graph_and_plain, 0.05),
    "conservation": (conservation, 0.1),
    "tests": (tests, 0.3),
    "tilings": (tilings, 0.3),
}
"""In the order in which they matter, with the share of the budget that each may take."""
TARGETS = (
    ("latency", "float32", "median_ms", "at most", 0.18),
    ("throughput", "float32", "atoms_per_s", "at least", 4e6),
    ("throughput", "fast", "atoms_per_s", "at least", 6e6),
    ("many_molecules", "torch-sim, float32", "atoms_per_s", "at least", 3e6),
    ("training", "finite-difference, float32, 400 structures", "atoms_per_s", "at least", 3e5),
)
"""On an H200; the record says which are met."""


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


def compared(sections: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each target with what was measured, None where it was not."""
    rows = []
    for section, row, name, relation, target in TARGETS:
        value = sections.get(section, {}).get(row, {}).get(name)
        met = None if value is None else value <= target if relation == "at most" else value >= target
        rows.append(
            {"what": f"{section}: {row}, {name}", "target": f"{relation} {target:g}", "measured": value, "met": met}
        )
    return rows


def run(bench: Bench, section: Section, share: float) -> dict[str, Any]:
    """Return what a section measured, as far as it came, and why it ended where it was not to."""
    result: dict[str, Any] = {}

    def interrupt(*_: Any) -> None:
        raise OutOfTimeError

    previous, before = signal.signal(signal.SIGALRM, interrupt), (0.0, 0.0)
    try:
        bench.begin(share)
        before = signal.setitimer(signal.ITIMER_REAL, bench.left_s() + GRACE_S)
        section(bench, result)
    except OutOfTimeError:
        result["error"] = "its time was over"
    except Exception:
        result["error"] = traceback.format_exc(limit=-4)
    finally:
        # pytest may have set a timer of its own.
        signal.signal(signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, *before)
    result["ok"] = "error" not in result and all(row["ok"] for row in result.get("rows", {}).values())
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"), help="folder for gpu.json; else $OUT")
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument(
        "--budget-s", type=float, help=f"for all sections; else {BUDGET_S:.0f}, and a day for a dry run"
    )
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
    # Python looks for modules beside a script first, where tables.py is not the package that torch-sim imports.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    budget_s = given.budget_s or (DRY_BUDGET_S if given.dry_run else BUDGET_S)
    bench = Bench(dry=given.dry_run, budget_s=budget_s)
    record: dict[str, Any] = {"machine": machine(bench), "sections": {}}
    good = True
    for name in given.sections.split(","):
        start = time.perf_counter()
        outcome = run(bench, *SECTIONS[name])
        outcome["seconds"] = round(time.perf_counter() - start, 2)
        record["sections"][name] = outcome
        record["targets"] = compared(record["sections"])
        good &= outcome["ok"]
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record, indent=1))
        part.replace(path)
        wrong = [row for row, values in outcome.get("rows", {}).items() if not values["ok"]]
        said = str(outcome["error"]).strip().splitlines()[-1] if "error" in outcome else "ok"
        print(f"{name}: {f'outside: {wrong}' if wrong else said} ({outcome['seconds']} s)", flush=True)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    for row in record["targets"]:
        if row["measured"] is not None:
            print(f"{row['what']}: {row['measured']:.4g}, {row['target']} wanted")
    print(path)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
