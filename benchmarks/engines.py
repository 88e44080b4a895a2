"""What an engine adds to a model: a step through each engine, beside the model alone and the engine with a zero force.

    python benchmarks/engines.py MODEL [--systems 49,504] [--engines ase,…] [--seconds 20] [--json FILE]

    python benchmarks/engines.py MODEL --profile --engines ase --systems 49

For each engine and system three things take turns: steps of molecular dynamics with the model; the same form of the
model called directly, on frames of such a run; and steps of the engine with a force that is zero, put in by the
engine's own means without this package. ``ratio`` is the median over turns of the first over the sum of the other two.
Times are processor time of this process, ms a step on one thread; those of i-PI, a process of its own, are by the
clock, so nothing else may run then. ``--profile`` prints where the steps of each engine spend their time.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet
from ipi_overhead import INPUT, BlockIsOverError, bare

from mlff_core import load
from mlff_core.atomic_write import write_atomically
from mlff_core.dynamics.state import thermal_velocities
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.potentials.wrapping import WrappedPotential
from mlff_core.structures.batch import concatenate
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.ase import MLFFCalculator
from mlff_plugins.benchmark.machine import commit, machine
from mlff_plugins.benchmark.systems import build

TIMESTEP_FS = 0.5
TURN_S = 0.1
N_FRAMES = 40
BEADS = 8
CONNECTING = 5
"""Requests after a connection that are not timed: i-PI looks for new clients a few times a second."""

Run = Callable[[int], float | None]
"""Does so many steps; returns how long they took, s, where that is not the time of the call."""


@dataclass
class Trio:
    """What takes turns: steps through the engine with the model, with a zero force, and the model alone."""

    step: Run
    zero: Run
    direct: Run

    def spent(self, what: str, n: int) -> float:
        """Return the time of n steps, s."""
        began = time.process_time()
        own = getattr(self, what)(n)
        return time.process_time() - began if own is None else own


class Zeros(Calculator):
    """No energy and no forces."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE has it

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Fill the results."""
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3))}


def ase_steps(frame: Atoms, calculator: Calculator) -> Run:
    """Return steps of ASE."""
    atoms = frame.copy()
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, TIMESTEP_FS * units.fs)

    def run(n: int) -> None:
        dynamics.run(n)  # which returns whether it has converged, no time

    return run


def still(frame: Atoms) -> Atoms:
    """Return the structure at rest, which no force will set in motion; LAMMPS has no atoms outside its box."""
    atoms = frame.copy()
    atoms.set_momenta(np.zeros((len(atoms), 3)))
    return atoms


def frames_of_a_run(frame: Atoms, potential: Potential) -> list[torch.Tensor]:
    """Return positions of successive steps there and back again, (n_atoms, 3), Å, so that a cycle has no jump."""
    atoms = frame.copy()
    atoms.calc = MLFFCalculator(potential)
    dynamics, found = VelocityVerlet(atoms, TIMESTEP_FS * units.fs), []
    for _ in range(N_FRAMES):
        dynamics.run(1)
        found.append(torch.from_numpy(atoms.get_positions()).to(potential.dtype))
    return found + found[-2:0:-1]


def cycle(frames: list[torch.Tensor], call: Callable[[torch.Tensor], Any]) -> Run:
    """Return steps that hand one of the frames after the other to a function."""
    k = 0

    def run(n: int) -> None:
        nonlocal k
        for _ in range(n):
            call(frames[k % len(frames)])
            k += 1

    return run


def predict_steps(frame: Atoms, potential: Potential, frames: list[torch.Tensor], want: tuple[str, ...]) -> Run:
    """Return calls of ``predict`` with neighbours under a skin."""
    batch, running = batch_from_atoms(frame), VerletPotential(potential)
    return cycle(frames, lambda positions: running.predict(batch.with_positions(positions), want=want))


def wants(frame: Atoms) -> tuple[str, ...]:
    """Return what engines with a pressure ask of a model."""
    return ("energy", "forces", "stress") if frame.pbc.any() else ("energy", "forces")


@contextlib.contextmanager
def ase(frame: Atoms, model: str) -> Iterator[Trio]:
    potential = load(model, device="cpu")
    frames = frames_of_a_run(frame, potential)
    yield Trio(
        ase_steps(frame, MLFFCalculator(potential)),
        ase_steps(frame, Zeros()),
        predict_steps(frame, potential, frames, wants(frame)),
    )


def openmm_steps(frame: Atoms, force: Any) -> Run:
    """Return steps of OpenMM on its Reference platform."""
    import openmm

    system = openmm.System()
    for mass in frame.get_masses():
        system.addParticle(mass)
    if frame.pbc.any():
        system.setDefaultPeriodicBoxVectors(*(np.asarray(frame.cell) / ANGSTROM_PER_NM))
    system.addForce(force)
    integrator = openmm.VerletIntegrator(TIMESTEP_FS * 1e-3)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(frame.positions / ANGSTROM_PER_NM)
    context.setVelocities(frame.get_velocities() * units.fs * 1e3 / ANGSTROM_PER_NM)

    def run(n: int, _alive: Any = context) -> None:
        integrator.step(n)

    return run


def _nothing(state: Any) -> tuple[float, Any]:
    return 0.0, np.zeros((len(state.getPositions(asNumpy=True)), 3))


@contextlib.contextmanager
def openmm_pythonforce(frame: Atoms, model: str) -> Iterator[Trio]:
    import openmm

    from mlff_plugins.openmm import create_force

    potential, periodic = load(model, device="cpu"), bool(frame.pbc.any())
    frames = frames_of_a_run(frame, potential)
    force = create_force(potential, frame.numbers.tolist(), backend="pythonforce", periodic=periodic)
    zero = openmm.PythonForce(_nothing)
    zero.setUsesPeriodicBoundaryConditions(periodic)
    yield Trio(
        openmm_steps(frame, force),
        openmm_steps(frame, zero),
        predict_steps(frame, potential, frames, ("energy", "forces")),
    )


class NoEnergy(torch.nn.Module):
    """A TorchForce's module without a model."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, positions: torch.Tensor, box: Optional[torch.Tensor] = None) -> torch.Tensor:  # noqa: UP045
        """Return zero; positions (n_atoms, 3) in nm."""
        return positions.sum() * 0.0


@contextlib.contextmanager
def openmm_torchforce(frame: Atoms, model: str) -> Iterator[Trio]:
    from mlff_core.export.writing import deprecation_silenced
    from mlff_plugins.openmm import create_force
    from mlff_plugins.openmm.force_module import DEFAULT_SKIN, force_module
    from mlff_plugins.openmm.torch_force import torch_force

    potential, periodic = load(model, device="cpu", kernel="reference"), bool(frame.pbc.any())
    numbers = frame.numbers.tolist()
    frames = [(positions / ANGSTROM_PER_NM).double() for positions in frames_of_a_run(frame, load(model, device="cpu"))]
    module = force_module(potential, numbers, None, periodic, DEFAULT_SKIN)
    box = torch.from_numpy(np.asarray(frame.cell) / ANGSTROM_PER_NM) if periodic else None

    def direct(positions: torch.Tensor) -> None:
        positions = positions.clone().requires_grad_()
        module(positions, box).backward()

    with deprecation_silenced():
        nothing = torch.jit.script(NoEnergy())
    yield Trio(
        openmm_steps(frame, create_force(potential, numbers, backend="torchforce", periodic=periodic)),
        openmm_steps(frame, torch_force(nothing, periodic)),
        cycle(frames, direct),
    )


def lammps_steps(frame: Atoms, drive: Callable[[Any, list[str]], Any]) -> tuple[Run, Any]:
    """Return steps of LAMMPS with ``fix nve``, and the instance; ``drive`` adds the forces."""
    from mlff_plugins.lammps import open_lammps

    lmp = open_lammps()
    periodic = bool(frame.pbc.any())
    species = sorted(set(frame.get_chemical_symbols()))
    lows, highs = frame.positions.min(0) - 20, frame.positions.max(0) + 20
    if periodic:
        lows, highs = np.zeros(3), frame.cell.lengths()
    bounds = " ".join(f"{low} {high}" for low, high in zip(lows, highs, strict=True))
    kind = "p" if periodic else "f"
    for line in (
        "units metal",
        "atom_modify map array",
        f"boundary {kind} {kind} {kind}",
        f"region box block {bounds}",
        f"create_box {len(species)} box",
    ):
        lmp.command(line)
    types = [species.index(symbol) + 1 for symbol in frame.get_chemical_symbols()]
    velocities = frame.get_velocities() * units.fs * 1e3
    lmp.create_atoms(
        len(frame), list(range(1, len(frame) + 1)), types, frame.positions.ravel().tolist(), velocities.ravel().tolist()
    )
    for k, symbol in enumerate(species):
        lmp.command(f"mass {k + 1} {frame.get_masses()[frame.get_chemical_symbols().index(symbol)]}")
    lmp.command("pair_style zero 6.0 nocoeff")
    lmp.command("pair_coeff * *")
    lmp.command(f"timestep {TIMESTEP_FS * 1e-3}")
    drive(lmp, species)
    lmp.command("fix move all nve")
    lmp.command("thermo 1000000")
    lmp.command("run 0 post no")
    # Without "pre no" each command would compute the forces of its first step once more.
    return lambda n: lmp.command(f"run {n} pre no post no"), lmp


@contextlib.contextmanager
def lammps(frame: Atoms, model: str) -> Iterator[Trio]:
    from mlff_plugins.lammps import attach

    potential = load(model, device="cpu")
    frames = frames_of_a_run(frame, potential)

    def nothing(lmp: Any, species: list[str]) -> None:
        def called(_: Any, step: int, n_local: int, tags: Any, positions: Any, forces: Any) -> None:
            forces[:] = 0.0

        lmp.command("fix zero all external pf/callback 1 1")
        lmp.set_fix_external_callback("zero", called)

    step, first = lammps_steps(frame, lambda lmp, species: attach(lmp, potential, species))
    zero, second = lammps_steps(still(frame), nothing)
    yield Trio(step, zero, predict_steps(frame, potential, frames, (*wants(frame), "atom_energies")))
    first.close()
    second.close()


@contextlib.contextmanager
def onnx(frame: Atoms, model: str) -> Iterator[Trio]:
    import onnxruntime

    from mlff_core.export.writing import card_from_entries
    from mlff_core.model.traced_program import INPUTS, OUTPUTS
    from mlff_core.potentials.exported_graph import GraphPotential
    from mlff_core.structures.neighbors import edge_vectors, find_neighbors
    from mlff_plugins.onnx import ONNXExporter, open_onnx

    student = load(model, device="cpu")
    frames = frames_of_a_run(frame, student)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ONNXExporter().export(student, path)
        potential = open_onnx(path, "cpu")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    card_from_entries(session.get_modelmeta().custom_metadata_map)
    batch = batch_from_atoms(frame)
    feeds = {}
    for positions in frames:
        edges = find_neighbors(batch.with_positions(positions), student.card.cutoff)
        given = (
            batch.atomic_numbers,
            edge_vectors(batch.with_positions(positions), edges),
            edges.centers,
            edges.neighbors,
        )
        values = zip(INPUTS, (*given, batch.system_idx), strict=True)
        feeds[id(positions)] = {name: value.contiguous().numpy() for name, value in values}
    none = [torch.zeros(1).double(), torch.zeros(len(frame)).double(), torch.zeros(len(frame), 3), torch.zeros(1, 3, 3)]
    empty = GraphPotential(lambda *given: tuple(none), potential.card)
    yield Trio(
        predict_steps(frame, potential, frames, wants(frame)),
        predict_steps(frame, empty, frames, wants(frame)),
        cycle(frames, lambda positions: session.run(OUTPUTS, feeds[id(positions)])),
    )


class Counted(WrappedPotential):
    """A potential that notes when it was asked, and ends after a number of calls."""

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        self.most, self.asked = 0, list[float]()

    def predict_checked(self, batch: Any, want: Any, edges: Any = None) -> Prediction:
        """Return the potential's prediction; the time is noted."""
        self.asked.append(time.perf_counter())
        if len(self.asked) > self.most:
            raise BlockIsOverError("the block is over")
        return super().predict_checked(batch, want, edges)


@contextlib.contextmanager
def ipi(frame: Atoms, model: str) -> Iterator[Trio]:
    from mlff_plugins.ipi.client import Address, Client, connect
    from mlff_plugins.ipi.driver import Driver

    potential = load(model, device="cpu")
    counted = Counted(potential)
    driver = Driver(counted, batch_from_atoms(frame))
    name = f"mlff-engines-{os.getpid()}"
    address = Address.unix(name)
    beads = concatenate([batch_from_atoms(frame)] * BEADS)
    running = VerletPotential(potential)
    shape = beads.positions.shape
    noise = [beads.positions + 1e-3 * torch.randn(shape, generator=torch.Generator().manual_seed(k)) for k in range(8)]
    want = wants(frame)

    predict = cycle(noise, lambda positions: running.predict(beads.with_positions(positions), want=want))

    def step(n: int) -> float:
        counted.most, counted.asked = n + CONNECTING, []
        with contextlib.suppress(BlockIsOverError):
            Client(connect(address), driver, driver.n_atoms).serve()
        return counted.asked[-1] - counted.asked[CONNECTING]

    def zero(n: int) -> float:
        asked, _ = bare(address, frame, n + CONNECTING, BEADS)
        return asked[-1] - asked[CONNECTING]

    def direct(n: int) -> float:
        began = time.perf_counter()
        predict(n)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        boxed = frame.copy()
        if not frame.pbc.any():
            boxed.set_cell([50.0, 50.0, 50.0])  # i-PI has no structures without a cell
        boxed.write(Path(folder) / "start.extxyz")
        text = INPUT.format(mode="unix", address=name, port="", batch_size=BEADS, beads=BEADS)
        (Path(folder) / "input.xml").write_text(text)
        server = subprocess.Popen([Path(sys.executable).with_name("i-pi"), "input.xml"], cwd=folder)
        try:
            yield Trio(step, zero, direct)
        finally:
            server.kill()
            server.wait()
            Path(address.path or name).unlink(missing_ok=True)


ENGINES = {
    "ase": ase,
    "openmm-pythonforce": openmm_pythonforce,
    "openmm-torchforce": openmm_torchforce,
    f"ipi-{BEADS}-beads": ipi,
    "lammps": lammps,
    "onnx": onnx,
}


def measure(trio: Trio, seconds: float) -> dict[str, float]:
    """Return ms a step of the three, medians, and the median of their ratio."""
    times: dict[str, list[float]] = {"step": [], "zero": [], "direct": []}
    counts = {}
    for what in times:
        trio.spent(what, 3)  # what the first calls load, tune or compile
        counts[what] = min(1000, max(2, round(TURN_S / (trio.spent(what, 5) / 5))))
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(times["step"]) < 3:
        for what, spent in times.items():
            spent.append(1e3 * trio.spent(what, counts[what]) / counts[what])
    ratios = [step / (zero + direct) for step, zero, direct in zip(*times.values(), strict=True)]
    medians = {f"{what}_ms": statistics.median(spent) for what, spent in times.items()}
    return {**medians, "ratio": statistics.median(ratios), "n_turns": len(ratios)}


def profile(trio: Trio) -> None:
    """Print where steps spend their time."""
    trio.step(20)
    recorded = cProfile.Profile()
    recorded.runcall(trio.step, 100)
    pstats.Stats(recorded).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Print a line for each engine and system, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--systems", default="49,504")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--seconds", type=float, default=20.0, help="for each engine and system")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for system in arguments.systems.split(","):
        (frame,) = build(system)
        masses = frame.get_masses()[:, None]
        frame.set_velocities(thermal_velocities(masses, 300.0, np.random.default_rng(0)))
        for engine in arguments.engines.split(","):
            with ENGINES[engine](frame, arguments.model) as trio:
                if arguments.profile:
                    profile(trio)
                    continue
                found = measure(trio, arguments.seconds)
            rows.append({"engine": engine, "system": system, **found})
            print(
                f"{system:>5s} {engine:18s} step {found['step_ms']:8.3f} ms; alone {found['direct_ms']:8.3f} ms, "
                f"engine {found['zero_ms']:7.3f} ms; ratio {found['ratio']:.2f}",
                flush=True,
            )
            if arguments.json:
                about = {"machine": machine(torch.device("cpu")), "commit": commit(), "load": os.getloadavg()[0]}
                content = {**about, "model": Path(arguments.model).name, "rows": rows}
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(arguments.json, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


if __name__ == "__main__":
    main()
