"""Overhead of the i-PI client: a step with a zero potential, compared with a bare client that sends zeros.

    python -m benchmarks ipi_overhead [--blocks 12] [--steps 300] [--json FILE]

For each row one i-PI runs, and the two clients alternate: each connects, answers a block of steps and disconnects, so
that other load on the machine affects both. ``step`` is the wall time between two requests, ``client`` the processor
time of a client per request, in ms. The median and the first percentile of the steps are given: on a busy machine a
longer computation is interrupted more often, and the first percentile is that of steps without interruption.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

import mlff_core
from benchmarks.command import parser, use_threads, write
from mlff_core.card import ModelCard
from mlff_core.errors import MlffError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.reading import batch_from_atoms
from mlff_plugins.benchmark.machine import commit
from mlff_plugins.ipi.client import Address, Client, connect
from mlff_plugins.ipi.driver import Driver

INPUT = """<simulation verbosity='quiet' safe_stride='100000000'>
 <output prefix='run'><properties stride='100000000' filename='out'>[ step ]</properties></output>
 <total_steps>100000000</total_steps>
 <ffsocket mode='{mode}' name='zero' pbc='False'><address>{address}</address>{port}
  <latency>1e-4</latency><timeout>600</timeout><batch_size>{batch_size}</batch_size></ffsocket>
 <system>
  <initialize nbeads='{beads}'><file mode='ase' units='angstrom'>start.extxyz</file>
   <velocities mode='thermal' units='kelvin'>300</velocities></initialize>
  <forces><force forcefield='zero'/></forces>
  <motion mode='dynamics'><dynamics mode='nve'><timestep units='femtosecond'>0.001</timestep></dynamics></motion>
  <ensemble><temperature units='kelvin'>300</temperature></ensemble>
 </system>
</simulation>
"""


@dataclass(frozen=True)
class Case:
    """One row: the connection to i-PI, and the system."""

    mode: str
    n_atoms: int
    beads: int = 1
    periodic: bool = False


CASES = (
    Case("unix", 32),
    Case("unix", 32, periodic=True),
    Case("unix", 500),
    Case("unix", 32, beads=8),
    Case("inet", 32),
)


class BlockIsOverError(MlffError):
    """The client has answered all steps of its block."""


class Zero(Potential):
    """Zero energy and forces; records the time of each request, and ends after a number of steps."""

    supports = frozenset({"energy", "forces", "stress"})

    def __init__(self, steps: int) -> None:
        self.card = ModelCard(name="zero", elements=(6,), cutoff=5.0)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.steps = steps
        self.asked: list[float] = []
        self._zeros: Prediction | None = None

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Record the time and return zeros."""
        self.asked.append(time.perf_counter())
        if len(self.asked) > self.steps:
            raise BlockIsOverError("the block is over")
        if self._zeros is None:
            self._zeros = Prediction(
                energy=torch.zeros(batch.n_systems, dtype=torch.float64),
                forces=torch.zeros_like(batch.positions),
                stress=torch.zeros_like(batch.cell) if "stress" in want else None,
            )
        return self._zeros


def ours(address: Address, atoms: Atoms, steps: int, batch_size: int) -> tuple[list[float], float]:
    """Return the times of the requests to this package's client, and the processor time of the client, s."""
    potential = Zero(steps)
    driver = Driver(potential, batch_from_atoms(atoms))
    client = Client(connect(address), driver, driver.n_atoms)
    before = time.thread_time()
    with contextlib.suppress(BlockIsOverError):
        client.serve()
    return potential.asked, time.thread_time() - before


def bare(address: Address, atoms: Atoms, steps: int, batch_size: int) -> tuple[list[float], float]:
    """Return the same for a client that reads all messages without checks and sends zeros."""
    n_atoms, asked, has_init = len(atoms), list[float](), False
    size = 144 + 4 + 24 * n_atoms if batch_size == 1 else 4 + (144 + 24 * n_atoms) * batch_size
    zeros = b"".join(
        [
            b"FORCEREADY  ",
            bytes(8 * batch_size),
            struct.pack("i", n_atoms),
            bytes((24 * n_atoms + 72) * batch_size),
            (struct.pack("i", 2) + b"{}") * batch_size,
        ]
    )
    connection = connect(address)
    before = time.thread_time()
    with connection, connection.makefile("rb", buffering=1 << 16) as stream:
        while True:
            header = stream.read(12)
            if header == b"STATUS      ":
                connection.sendall(b"READY       " if has_init else b"NEEDINIT    ")
            elif header == b"INIT        ":
                stream.read(struct.unpack("ii", stream.read(8))[1])
                has_init = True
            elif header == b"POSDATA     ":
                stream.read(size)
                asked.append(time.perf_counter())
            elif header == b"GETFORCE    ":
                if len(asked) > steps:
                    connection.shutdown(socket.SHUT_RDWR)
                    return asked, time.thread_time() - before
                connection.sendall(zeros)
            else:
                raise RuntimeError(f"i-PI sent {header!r}")


def grid(n_atoms: int, periodic: bool) -> Atoms:
    """Return carbon atoms on a grid, 2 Å apart."""
    k = int(np.ceil(n_atoms ** (1 / 3)))
    points = np.stack(np.meshgrid(*[np.arange(k)] * 3), -1).reshape(-1, 3)[:n_atoms] * 2.0
    return Atoms(f"C{n_atoms}", points, cell=[2.0 * k] * 3, pbc=periodic)


def measure(case: Case, blocks: int, steps: int) -> dict[str, float]:
    """Return the times of a step with both clients, ms, and their ratios."""
    name = f"mlff-overhead-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    is_unix = case.mode == "unix"
    address = Address.unix(name) if is_unix else Address(host="127.0.0.1", port=port)
    atoms = grid(case.n_atoms, case.periodic)
    clients = {"bare": bare, "ours": ours}
    times: dict[str, list[float]] = {client: [] for client in clients}
    used: dict[str, list[float]] = {client: [] for client in clients}
    with tempfile.TemporaryDirectory() as folder:
        atoms.write(Path(folder) / "start.extxyz")
        (Path(folder) / "input.xml").write_text(
            INPUT.format(
                mode=case.mode,
                address=name if is_unix else "127.0.0.1",
                port="" if is_unix else f"<port>{port}</port>",
                batch_size=case.beads,
                beads=case.beads,
            )
        )
        ipi = subprocess.Popen([Path(sys.executable).with_name("i-pi"), "input.xml"], cwd=folder)
        try:
            for block in range(blocks + 1):
                for client, serve in clients.items():
                    asked, spent = serve(address, atoms, steps, case.beads)
                    # The first block, and the first steps after a connection, are not counted.
                    if block:
                        times[client] += (1e3 * np.diff(asked[20:])).tolist()
                        used[client].append(1e3 * spent / len(asked))
        finally:
            ipi.kill()
            ipi.wait()
            Path(address.path or name).unlink(missing_ok=True)
    found = {}
    for client in clients:
        found[f"{client}_step_median_ms"] = statistics.median(times[client])
        found[f"{client}_step_first_percentile_ms"] = float(np.percentile(times[client], 1))
        found[f"{client}_client_ms"] = statistics.median(used[client])
    for figure in ("step_median", "step_first_percentile"):
        found[f"{figure}_ratio"] = found[f"ours_{figure}_ms"] / found[f"bare_{figure}_ms"]
    return found


def main() -> None:
    """Print a table, and write it as JSON if requested."""
    options = parser(__doc__)
    options.add_argument("--blocks", type=int, default=12)
    options.add_argument("--steps", type=int, default=300)
    arguments = options.parse_args()
    use_threads(1)
    rows = []
    for case in CASES:
        found = measure(case, arguments.blocks, arguments.steps)
        rows.append({**vars(case), **found})
        print(
            f"{case.mode} {case.beads} × {case.n_atoms}{' periodic' if case.periodic else ''}: median step bare "
            f"{found['bare_step_median_ms']:.3f} ms, ours {found['ours_step_median_ms']:.3f} ms, ratio "
            f"{found['step_median_ratio']:.2f}; first percentile {found['step_first_percentile_ratio']:.2f}; processor "
            f"time of the client {found['bare_client_ms']:.3f} and {found['ours_client_ms']:.3f} ms",
            flush=True,
        )
    about = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ipi": metadata.version("ipi"),
        "mlff_hub": mlff_core.__version__,
        "commit": commit(),
        "load": os.getloadavg()[0],
        "blocks": arguments.blocks,
        "steps": arguments.steps,
    }
    write(arguments.out, {"about": about, "rows": rows})


if __name__ == "__main__":
    main()
