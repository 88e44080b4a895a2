"""An i-PI input for multiple time steps with two drivers, one for each model."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_core.atomic_write import make_folder, write_atomically
from mlff_core.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

INPUT, START = "input.xml", "start.extxyz"
VACUUM = 40.0
"""Side of the box around a molecule, Å, beyond its size; i-PI needs a box, the drivers do not use it."""

SOCKET = """ <ffsocket mode='unix' name='{role}' pbc='False'>
  <address>{address}</address><latency>1e-4</latency><timeout>600</timeout>
 </ffsocket>
"""
TEMPLATE = """<simulation verbosity='low' safe_stride='100'>
 <output prefix='run'>
  <properties stride='{stride}' filename='out'>
   [ step, time{{femtosecond}}, conserved{{electronvolt}}, potential{{electronvolt}}, kinetic_md{{electronvolt}},
     temperature{{kelvin}} ]</properties>
  <trajectory stride='{stride}' filename='pos' format='ase'>positions{{ase}}</trajectory>
  <checkpoint stride='1000'/>
 </output>
 <total_steps>{n_steps}</total_steps>
 <prng><seed>{seed}</seed></prng>
{sockets} <system>
  <initialize nbeads='1'>
   <file mode='ase' units='angstrom'>{start}</file>
   <velocities mode='thermal' units='kelvin'>{kelvin}</velocities>
  </initialize>
  <forces>
   <!-- The outer level moves with outer − inner, the inner level with the inner model. -->
   <force forcefield='outer'><mts_weights>[1, 0]</mts_weights></force>
   <force forcefield='inner'><mts_weights>[-1, 1]</mts_weights></force>
  </forces>
  <motion mode='dynamics'>
   <dynamics mode='{ensemble}' splitting='baoab'>
    <timestep units='femtosecond'>{timestep_fs}</timestep>
    <nmts>[1, {inner_steps}]</nmts>{thermostat}
   </dynamics>
  </motion>
  <ensemble><temperature units='kelvin'>{kelvin}</temperature></ensemble>
 </system>
</simulation>
"""
THERMOSTAT = "\n    <thermostat mode='langevin'><tau units='femtosecond'>{tau}</tau></thermostat>"


@dataclass(frozen=True)
class MTSRun:
    """Settings of a run with two models in i-PI.

    Raises
    ------
    InputError
        A number is out of range.
    """

    outer: str
    inner: str
    """Names or paths of the accurate and of the cheap model; the outer one may be a teacher."""
    inner_steps: int
    """Inner steps in one step."""
    timestep_fs: float
    """Outer step, fs."""
    n_steps: int
    """Outer steps."""
    temperature_kelvin: float = 300.0
    """Temperature of the thermostat and of the starting velocities, kelvin."""
    friction_per_ps: float | None = 1.0
    """Of the Langevin thermostat, 1/ps; None for constant energy."""
    seed: int = 0
    """Seed of i-PI."""

    def __post_init__(self) -> None:
        if self.inner_steps < 1 or self.n_steps < 1:
            raise InputError(f"inner_steps and n_steps must be at least 1, got {self.inner_steps} and {self.n_steps}")
        for name in ("timestep_fs", "temperature_kelvin", "friction_per_ps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} must be positive and finite, got {value}")


def write_mts_input(run: MTSRun, atoms: Atoms, folder: str | Path) -> list[str]:
    """Write i-PI's input and its structure into a folder; return the three commands to run there.

    Parameters
    ----------
    run
        Models and settings.
    atoms
        Starting structure; a molecule without a cell gets a box.
    folder
        New, or without these files.

    Raises
    ------
    InputError
        A file is there already.
    """
    folder = Path(folder)
    for name in (INPUT, START):
        if (folder / name).exists():
            raise InputError(f"{folder / name} exists already; give another folder")
    make_folder(folder)
    atoms = atoms.copy()
    if not atoms.pbc.any():
        atoms.set_cell([float(side) + VACUUM for side in atoms.positions.max(axis=0) - atoms.positions.min(axis=0)])
        atoms.pbc = False
    atoms.write(folder / START)
    # Names of sockets are the machine's, so that of the folder is in them.
    address = "".join(letter if letter.isalnum() else "-" for letter in folder.resolve().name)
    addresses = {role: f"mlff-{address}-{role}" for role in ("outer", "inner")}
    text = TEMPLATE.format(
        stride=10,
        n_steps=run.n_steps,
        seed=run.seed,
        sockets="".join(SOCKET.format(role=role, address=name) for role, name in addresses.items()),
        start=START,
        kelvin=f"{run.temperature_kelvin:g}",
        ensemble="nve" if run.friction_per_ps is None else "nvt",
        timestep_fs=f"{run.timestep_fs:g}",
        inner_steps=run.inner_steps,
        thermostat="" if run.friction_per_ps is None else THERMOSTAT.format(tau=f"{1000 / run.friction_per_ps:g}"),
    )
    write_atomically(folder / INPUT, text.encode())
    models = {"outer": run.outer, "inner": run.inner}
    return [
        f"i-pi {INPUT}",
        *(
            f"mlff serve-ipi {shlex.quote(_seen_from(models[role]))} --unix {addresses[role]} --template {START}"
            for role in ("outer", "inner")
        ),
    ]


def _seen_from(model: str) -> str:
    """Return a model's name, or the absolute path of its file, which is valid in the run's folder too."""
    return str(Path(model).resolve()) if Path(model).is_file() else model
