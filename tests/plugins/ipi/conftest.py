"""The real i-PI, run as a user runs it."""

import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing.reference_potential import PairPotential

EXECUTABLE = Path(sys.executable).parent / "i-pi"

INPUT = """<simulation verbosity='low' safe_stride='1000000'>
 <output prefix='run'>
  <properties stride='1' filename='out'>
   [ step, conserved, potential, virial_md, kinetic_md, pressure_md, volume ]</properties>
  <trajectory stride='1' filename='pos' format='ase'>positions</trajectory>{output}
 </output>
 <total_steps>{steps}</total_steps>
 <prng><seed>42</seed></prng>
 {forcefield}
 <system>
  <initialize nbeads='{beads}'>
   <file mode='ase' units='angstrom'>start.extxyz</file>
   <velocities mode='thermal' units='kelvin'>{kelvin}</velocities>
  </initialize>
  <forces><force forcefield='mlff'/></forces>
  <motion mode='dynamics'><dynamics mode='{ensemble}'><timestep units='femtosecond'>{timestep}</timestep>
   {dynamics}</dynamics>{motion}</motion>
  <ensemble><temperature units='kelvin'>{kelvin}</temperature>{bath}</ensemble>
 </system>
</simulation>
"""
PILE = "<thermostat mode='pile_g'><tau units='femtosecond'>100</tau><pile_lambda>0.5</pile_lambda></thermostat>"
LANGEVIN = "<thermostat mode='langevin'><tau units='femtosecond'>100</tau></thermostat>"
BAROSTAT = f"<barostat mode='isotropic'><tau units='femtosecond'>200</tau>{LANGEVIN}</barostat>"


SOCKET = """<ffsocket mode='{mode}' name='{forcefield}' pbc='False'>
  <address>{address}</address>{port}<latency>1e-4</latency><timeout>{timeout}</timeout>{socket}
 </ffsocket>"""


class Run:
    """An i-PI run in a folder of its own."""

    def __init__(self, folder, atoms, **settings):
        folder.mkdir(exist_ok=True)
        self.folder, self.name = folder, f"mlff-test-{uuid.uuid4().hex[:10]}"
        self.socket = Path(f"/tmp/ipi_{self.name}")
        settings = {
            "steps": 20,
            "timestep": 0.25,
            "output": "",
            "timeout": 60,
            "kelvin": 300,
            "mode": "unix",
            "address": self.name,
            "port": "",
            "socket": "",
            "beads": 1,
            "ensemble": "nve",
            "dynamics": "",
            "motion": "",
            "bath": "",
            **{key: value(self.name) if callable(value) else value for key, value in settings.items()},
        }
        settings.setdefault("forcefield", SOCKET.format(**{**settings, "forcefield": "mlff"}))
        atoms.write(folder / "start.extxyz")
        (folder / "input.xml").write_text(INPUT.format(**settings))
        self.process = None

    def start(self):
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, EXECUTABLE, "input.xml"], cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def finished(self, timeout=60):
        assert self.process.wait(timeout) == 0, (self.folder / "log").read_text()[-2000:]
        return self

    def steps_done(self):
        out = self.folder / "run.out"
        return len([line for line in out.read_text().splitlines() if not line.startswith("#")]) if out.exists() else 0

    def wait_for_step(self, step, timeout=60):
        deadline = time.monotonic() + timeout
        while self.steps_done() <= step:
            assert time.monotonic() < deadline, f"i-PI is at step {self.steps_done()}"
            time.sleep(0.01)

    def properties(self):
        return np.loadtxt(self.folder / "run.out")

    def served_by_command(self, *models, arguments=()):
        """Serve the run by ``mlff serve-ipi`` and return the finished process."""
        command = [sys.executable, "-m", "mlff_core.cli", "serve-ipi", *map(str, models), "--template", "start.extxyz"]
        command += ["--dtype", "float64", "--device", "cpu", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for socket in self.socket.parent.glob(f"{self.socket.name}*"):
            socket.unlink(missing_ok=True)


class Serving(threading.Thread):
    """This package's client in a thread; ``end()`` joins it and raises its error."""

    def __init__(self, address, atoms, potential=None, wait_s=60.0, idle_s=600.0):
        super().__init__(daemon=True)
        from mlff_plugins.ipi.client import Client, connect
        from mlff_plugins.ipi.driver import Driver

        potential = PairPotential(dtype=torch.float64) if potential is None else potential
        driver = Driver(potential, batch_from_atoms(atoms, dtype=torch.float64))
        self.error = self.client = None

        def run():
            try:
                self.client = Client(connect(address, wait_s), driver, driver.n_atoms, idle_s)
                self.client.serve()
            except BaseException as error:
                self.error = error

        self.run = run
        self.start()

    def end(self, timeout=60):
        self.join(timeout)
        assert not self.is_alive(), "the client goes on"
        if self.error is not None:
            raise self.error
        return self.client


@pytest.fixture
def ipi(tmp_path):
    """Make i-PI runs that end with the test."""
    runs = []

    def make(atoms, folder="run", **settings):
        runs.append(Run(tmp_path / folder, atoms, **settings))
        return runs[-1]

    make.serve, make.socket = Serving, SOCKET
    make.pile, make.langevin, make.barostat = PILE, LANGEVIN, BAROSTAT
    yield make
    for run in runs:
        run.close()
