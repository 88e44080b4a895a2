"""Correctness of the GPU kernels: comparison with the reference, finite differences, and NVE runs."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.speed.gpu_sections.bench import Bench, check, relative
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.kernels.triton.cuda_graph import Graph
from mlff_core.kernels.triton.kernel import TritonKernel
from mlff_core.kernels.triton.parameters import read_parameters
from mlff_core.kernels.triton.search import NeighborSearch
from mlff_core.kernels.triton.stepper import Stepper
from mlff_core.structures.batch import AtomicBatch, concatenate, single
from mlff_core.structures.neighbors import find_neighbors

ALL = ("energy", "forces", "stress", "atom_energies")


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
            forces = relative(given.forces, truth.forces) if float(truth.forces.abs().max()) > 1e-6 else 0.0
            check(result, f"{name}, {kind}, forces", forces, limit)
            if bool(truth.stress.isfinite().all()):
                check(result, f"{name}, {kind}, stress", relative(given.stress, truth.stress), 3 * limit)
            check(result, f"{name}, {kind}, energy", relative(given.energy, truth.energy), limit)
            again = kernel.evaluate(low, edges.to(dtype=dtype), ALL)
            assert again.forces is not None
            check(result, f"{name}, {kind}, same bits", float(not torch.equal(again.forces, given.forces)), 0.0)


def finite_differences(bench: Bench, result: dict[str, Any]) -> None:
    """Compare forces with finite differences of the kernel's own energy, in float64."""
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
    check(result, "forces", worst / float(forces.abs().max()), 1e-6)


def neighbor_search(bench: Bench, result: dict[str, Any]) -> None:
    """Neighbours from the GPU and from the library: number of different pairs, and time of a search."""
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
        check(result, name, float(wrong), 0.0)
        result.setdefault("times", {})[name] = bench.wall_ms(
            lambda search=search, at=at, slots=slots: search.fill(search.sort(at.positions), slots), 20
        )


def graph_and_plain(bench: Bench, result: dict[str, Any]) -> None:
    """Compare a CUDA graph with the same kernels started one by one: bitwise equality, and the time of each."""
    stepper = bench.stepper(bench.molecule(50))
    plain, graph = Graph(partial(stepper._evaluate, False), bench.device, captures=False), stepper._evaluation(False)
    graph()  # the first call runs without a graph
    given, truth = graph(), plain()
    check(result, "forces", float(not torch.equal(given.forces, truth.forces)), 0.0)
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
