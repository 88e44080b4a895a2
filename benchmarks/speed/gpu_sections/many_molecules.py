"""Time of molecular dynamics of thousands of molecules in one batch."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
import torch

from benchmarks.speed.gpu_sections.bench import MODES, Bench, memory, spread
from mlff_core.structures.batch import AtomicBatch


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
            times = spread(steps)
            result[f"{name}, {mode}"] = {
                **times,
                "n_atoms": batch.n_atoms,
                "atoms_per_s": 1e3 * batch.n_atoms / times["median_ms"],
                "mean_atoms_per_s": batch.n_atoms * len(steps) / sum(steps),
                **memory(bench),
            }


def _through_torch_sim(bench: Bench, batch: AtomicBatch, mode: str, moments: list[float]) -> None:
    """Run torch-sim's NVE integrator, and record the times of its force calls."""
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
    """Run the dynamics of ``mlff md --replicas`` with its thermostat, and record the end of each step."""
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
    """Evaluate moving atoms only."""
    stepper = bench.student(fast=mode == "fast").stepper(batch, 1.0, None)
    assert stepper is not None
    path = [batch.positions + 0.01 * torch.randn_like(batch.positions) for _ in range(4)]
    for k in range(3 if bench.dry else 60):
        bench.check()
        moments.append(time.perf_counter())
        stepper.step(path[k % 4], batch.cell, stress=False)
