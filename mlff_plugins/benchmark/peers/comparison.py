"""Steps of several contestants, timed in turns on the same moving atoms."""

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
"""Timed unless others are asked for: two molecules, a batch, two boxes of water."""

N_FRAMES = 200
AMPLITUDE = 0.2
"""Å. With 200 frames of 0.5 fs a coordinate's speed is 0.009 Å/fs (root mean square), where at 300 K that of hydrogen
is 0.016 and that of oxygen 0.004."""

TURN_S = 0.3
"""Seconds of a contestant's turn, if a step is not longer."""


@dataclass(frozen=True)
class Row:
    """How long a contestant's steps of one system take.

    Parameters
    ----------
    peer, system
        Names.
    n_atoms, n_systems
        Of all structures together.
    cpu_ms_median, cpu_ms_min
        Processor time of a step, ms, all threads together: median over turns of their medians, and least.
    wall_ms_median, wall_ms_min
        Time by the clock, ms.
    ratio
        Median over turns of this contestant's processor time over the first one's in the same turn.
    n_steps
        Steps timed.
    message
        Why there is no timing; empty where there is one.
    """

    peer: str
    system: str
    n_atoms: int
    n_systems: int
    cpu_ms_median: float | None = None
    cpu_ms_min: float | None = None
    wall_ms_median: float | None = None
    wall_ms_min: float | None = None
    ratio: float | None = None
    n_steps: int = 0
    message: str = ""


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Parameters
    ----------
    rows
        Timings.
    about
        What each contestant says of itself.
    peak_memory_mib
        Most memory a fresh process of each contestant holds for three steps of the largest system, MiB.
    idle_memory_mib
        The same before the first step: interpreter, libraries and model, MiB.
    memory_system
        That system.
    """

    rows: list[Row]
    about: dict[str, dict[str, Any]]
    peak_memory_mib: dict[str, float]
    idle_memory_mib: dict[str, float]
    memory_system: str


@dataclass
class _Turns:
    """What one contestant has been timed at on one system: a list of steps a turn."""

    n_steps: int = 1
    cpu_ms: list[list[float]] = field(default_factory=list)
    wall_ms: list[list[float]] = field(default_factory=list)
    message: str = ""


def swinging_positions(start: Array, seed: int = 0) -> Array:
    """Return frames in which every coordinate swings about its place, each in its own phase.

    The last frame leads to the first, so that they can be run through for ever.

    Parameters
    ----------
    start
        Shape (n_atoms, 3), Å.
    seed
        Of the phases.

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
    """Write the file that all contestants read; return atoms and structures of each system.

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

    A turn is as many steps as fit into 0.3 s, at least one, so whatever else the machine does falls on all alike.

    Parameters
    ----------
    contestants
        The first is the one that others are related to.
    systems
        Names that :func:`mlff_plugins.benchmark.systems.build` knows.
    n_turns
        Of each contestant on each system.
    memory
        Measure peak memory on the largest system too, in a fresh process for each contestant.
    report
        Told each row as it is there.
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
    """Start the contestant's process, and return what it says of itself; or why there is none."""
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
    """Find how many steps a turn takes; compilers and tuners look at the first calls, so the last of a few counts."""
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
