"""Steps through i-PI."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ase import Atoms

from benchmarks.engines.ipi_overhead import INPUT, BlockIsOverError, bare
from benchmarks.engines.trio import Trio, cycle, wants
from mlff_core import load
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.potentials.wrapping import WrappedPotential
from mlff_core.structures.batch import concatenate
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.reading import batch_from_atoms

BEADS = 8
CONNECTING = 5
"""Number of requests after a connection that are not timed: i-PI checks for new clients a few times per second."""


class Counted(WrappedPotential):
    """A potential that records the time of each call, and ends after a number of calls."""

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        self.most, self.asked = 0, list[float]()

    def predict_checked(self, batch: Any, want: Any, edges: Any = None) -> Prediction:
        """Record the time and return the potential's prediction."""
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
            boxed.set_cell([50.0, 50.0, 50.0])  # in i-PI every structure has a cell
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
