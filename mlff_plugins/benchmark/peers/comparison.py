"""Steps of several programs, timed alternately on the same moving atoms."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlff_plugins.benchmark.peers.process import Contestant, PeerError, PeerProcess
from mlff_plugins.benchmark.peers.worker import Array
from mlff_plugins.benchmark.systems import build

SYSTEMS = ("22", "49", "32x49", "504", "2001")
"""Default systems: two molecules, a batch, two boxes of water."""

N_FRAMES = 200
AMPLITUDE = 0.2
"""Å. With 200 frames of 0.5 fs a coordinate's speed is 0.009 Å/fs (root mean square), where at 300 K that of hydrogen
is 0.016 and that of oxygen 0.004."""

TURN_S = 0.3
"""Seconds of one turn of a contestant, if a step is not longer."""


@dataclass(frozen=True)
class Row:
    """Times of a contestant's steps of one system."""

    peer: str
    system: str
    """Their names."""
    n_atoms: int
    n_systems: int
    """Of all structures together."""
    cpu_ms_median: float | None = None
    cpu_ms_min: float | None = None
    """Processor time of a step, ms, summed over threads: median over turns of their medians, and minimum."""
    wall_ms_median: float | None = None
    wall_ms_min: float | None = None
    """Wall time, ms."""
    ratio: float | None = None
    """Processor time divided by that of the first contestant in the same turn; median over turns."""
    n_steps: int = 0
    """Number of timed steps."""
    message: str = ""
    """Reason if there is no timing; else empty."""


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison."""

    rows: list[Row]
    """Timings."""
    about: dict[str, dict[str, Any]]
    """Description of each contestant by itself."""
    peak_memory_mib: dict[str, float]
    """Peak memory of a new process of each contestant during three steps of the largest system, MiB."""
    idle_memory_mib: dict[str, float]
    """The same before the first step: interpreter, libraries and model, MiB."""
    memory_system: str
    """That system."""


@dataclass
class _Turns:
    """Times of one contestant on one system: a list of steps for each turn."""

    n_steps: int = 1
    cpu_ms: list[list[float]] = field(default_factory=list)
    wall_ms: list[list[float]] = field(default_factory=list)
    message: str = ""


def swinging_positions(start: Array, seed: int = 0) -> Array:
    """Return frames in which every coordinate oscillates about its start with a phase of its own.

    The last frame leads to the first, so that they can be repeated without a jump.

    Parameters
    ----------
    start
        Shape (n_atoms, 3), Å.
    seed
        Seed of the phases.

    Returns
    -------
    Array
        Shape (200, n_atoms, 3), Å.
    """
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, start.shape)
    angles = 2 * np.pi * np.arange(N_FRAMES)[:, None, None] / N_FRAMES
    frames: Array = start + AMPLITUDE * np.sin(angles + phases)
    return frames


def write_systems(path: Path, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Write the file that all contestants read; return the numbers of atoms and structures of each system.

    Raises
    ------
    InputError
        No system has one of the names.
    """
    arrays: dict[str, Any] = {}
    sizes = {}
    for name in names:
        frames = build(name)
        arrays[f"{name}/numbers"] = np.concatenate([frame.numbers for frame in frames]).astype(np.int64)
        arrays[f"{name}/cells"] = np.stack([np.asarray(frame.cell) for frame in frames]).astype(np.float64)
        arrays[f"{name}/pbc"] = np.stack([frame.pbc for frame in frames])
        arrays[f"{name}/system_idx"] = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
        arrays[f"{name}/positions"] = swinging_positions(np.concatenate([frame.positions for frame in frames]))
        sizes[name] = (len(arrays[f"{name}/numbers"]), len(frames))
    np.savez(path, **arrays)
    return sizes


def compare(
    contestants: Sequence[Contestant],
    systems: Sequence[str] = SYSTEMS,
    *,
    n_turns: int = 7,
    memory: bool = True,
    report: Callable[[Row], None] = lambda row: None,
) -> Comparison:
    """Time whole steps of every contestant on every system, turn by turn: A B C A B C.

    A turn is as many steps as fit into 0.3 s, at least one, so that other load on the machine affects all equally.

    Parameters
    ----------
    contestants
        The first is the reference of the ratios.
    systems
        Names that :func:`mlff_plugins.benchmark.systems.build` knows.
    n_turns
        Number of turns of each contestant on each system.
    memory
        Also measure peak memory on the largest system, in a new process for each contestant.
    report
        Called with each row when it is ready.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "systems.npz"
        sizes = write_systems(path, systems)
        processes: dict[str, PeerProcess] = {}
        about: dict[str, dict[str, Any]] = {}
        for contestant in contestants:
            about[contestant.name] = _enter(contestant, path, processes, stack)
        rows = []
        for system in systems:
            for row in _time(processes, about, system, sizes[system], n_turns):
                rows.append(row)
                report(row)
        largest = max(systems, key=lambda name: sizes[name])
        peaks, idle = {}, {}
        if memory:
            timed = {row.peer for row in rows if row.system == largest and not row.message}
            for contestant in contestants:
                if contestant.name in timed:
                    with PeerProcess(contestant, path) as process:
                        process.ask("describe")
                        idle[contestant.name] = process.ask("peak_memory")["bytes"] / 2**20
                        process.ask("time", system=largest, n_steps=3)
                        peaks[contestant.name] = process.ask("peak_memory")["bytes"] / 2**20
    return Comparison(rows, about, peaks, idle, largest)


def _enter(
    contestant: Contestant, systems: Path, processes: dict[str, PeerProcess], stack: ExitStack
) -> dict[str, Any]:
    """Start the contestant's process and return its description, or the reason of its failure."""
    try:
        process = stack.enter_context(PeerProcess(contestant, systems))
        about = process.ask("describe")
    except PeerError as error:
        return {"message": str(error)}
    processes[contestant.name] = process
    return {"n_threads": contestant.n_threads, **about}


def _time(
    processes: dict[str, PeerProcess],
    about: dict[str, dict[str, Any]],
    system: str,
    size: tuple[int, int],
    n_turns: int,
) -> list[Row]:
    """Return a row for each contestant."""
    turns = {name: _Turns(message=str(about[name].get("message", ""))) for name in about}
    for name, process in processes.items():
        _warm_up(process, system, turns[name])
    for _ in range(n_turns):
        for name, turn in turns.items():
            if turn.message:
                continue
            try:
                answer = processes[name].ask("time", system=system, n_steps=turn.n_steps)
            except PeerError as error:
                turn.message = str(error)
                continue
            turn.cpu_ms.append(answer["cpu_ms"])
            turn.wall_ms.append(answer["wall_ms"])
    first = next(iter(turns.values()))
    base = [] if first.message else [statistics.median(times) for times in first.cpu_ms]
    return [_row(name, system, size, turn, base) for name, turn in turns.items()]


def _warm_up(process: PeerProcess, system: str, turns: _Turns) -> None:
    """Return the number of steps per turn, from the last of a few calls since the first ones include compiling."""
    try:
        step_ms = process.ask("time", system=system, n_steps=3)["wall_ms"][-1]
        if step_ms < 100 * TURN_S:
            step_ms = statistics.median(process.ask("time", system=system, n_steps=10)["wall_ms"])
        turns.n_steps = min(200, max(1, round(1e3 * TURN_S / step_ms)))
    except PeerError as error:
        turns.message = str(error)


def _row(name: str, system: str, size: tuple[int, int], turn: _Turns, base: list[float]) -> Row:
    if turn.message:
        return Row(name, system, *size, message=turn.message)
    cpu, wall = ([statistics.median(times) for times in kind] for kind in (turn.cpu_ms, turn.wall_ms))
    return Row(
        peer=name,
        system=system,
        n_atoms=size[0],
        n_systems=size[1],
        cpu_ms_median=statistics.median(cpu),
        cpu_ms_min=min(map(min, turn.cpu_ms)),
        wall_ms_median=statistics.median(wall),
        wall_ms_min=min(map(min, turn.wall_ms)),
        ratio=statistics.median(mine / other for mine, other in zip(cpu, base, strict=True)) if base else None,
        n_steps=sum(map(len, turn.cpu_ms)),
    )
