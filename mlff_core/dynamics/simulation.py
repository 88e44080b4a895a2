"""The driver of molecular dynamics: from a structure and settings to log, trajectory and restart file."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core.dynamics.files import LOG, RunFolder, alone_in_its_folder
from mlff_core.dynamics.integrators import Integrator, Langevin, LangevinBarostat, VelocityVerlet, volume_of
from mlff_core.dynamics.settings import MDSettings
from mlff_core.dynamics.state import (
    Array,
    MDState,
    Surface,
    mobile_atoms,
    thermal_velocities,
    without_drift,
    without_rotation,
)
from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.potentials.interface import Potential, check_has_volume
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT, GPA_PER_EV_PER_ANGSTROM3

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class MDReport:
    """What a run came to.

    Parameters
    ----------
    folder
        Where its files are.
    first_step, last_step
        Where this call began and ended.
    temperature_kelvin
        Mean over the log's lines of the second half of the whole run, kelvin.
    conserved_drift
        Change of the conserved energy from the first line of the log to the last, eV.
    """

    folder: Path
    first_step: int
    last_step: int
    temperature_kelvin: float
    conserved_drift: float


@alone_in_its_folder
def run_md(
    potential: Potential,
    atoms: Atoms,
    settings: MDSettings,
    folder: str | Path,
    *,
    restart: bool = False,
    model_sha256: str = "",
    on_step: Callable[[MDState], None] | None = None,
) -> MDReport:
    """Run molecular dynamics and return what it came to.

    ``folder`` gets ``log.csv``, the trajectory, ``run.json`` (settings and model) and ``restart.npz``, replaced by
    rename every ``checkpoint_every`` steps: a run that is killed at any moment goes on from there with ``restart=True``
    and ends with the same numbers as one that was left alone.

    Parameters
    ----------
    potential
        What moves the atoms.
    atoms
        Where they start; atoms held by ASE's ``FixAtoms`` stay where they are (not with ``"npt"``).
    settings
        Ensemble, length, intervals.
    folder
        Made if it is not there.
    restart
        Go on from the folder's last restart file; begin where there is none.
    model_sha256
        Hash of the model file, so that a run is not continued with another model.
    on_step
        Called with the state after every step, and with the first one.

    Raises
    ------
    InputError
        The structure or settings cannot be used, the folder holds a run or another process writes it, or the run became
        unphysical: atoms that overlap, fly apart or are nowhere. The last good step is then in trajectory and restart
        file.
    UnsupportedError
        An element, charge or property that the potential does not have.
    CheckpointError
        The files of the run to be continued are damaged.
    """
    run = SystemRun(potential, atoms, settings)
    files = RunFolder(Path(folder), settings.trajectory)
    record = {
        "model": potential.card.name,
        "model_sha256": model_sha256,
        "structure": identity(atoms),
        "settings": asdict(settings),
    }
    if restart and files.holds_restart:
        files.check_same(record)
        state = run.resume(files)
    else:
        if not (restart and files.read_record()):
            files.check_unused()
        state = run.surface.refresh(run.start(), want_stress=run.has_pressure)
        files.begin(record)
        run.write(files, state)
    first_step = state.step
    try:
        if on_step is not None:
            on_step(state)
        while state.step < settings.n_steps:
            try:
                state = run.integrator.advance(state, want_stress=run.wants_stress(state.step + 1))
            except MlffError as error:
                run.write(files, state, last=True)
                raise InputError(
                    f"the run stopped after step {state.step} ({state.step * settings.timestep_fs:g} fs): {error}. "
                    f"The last good step is in {files.folder}"
                ) from error
            state = run.write(files, state)
            if on_step is not None:
                on_step(state)
    finally:
        files.close()
    temperature, drift = _summarise(files.folder / LOG)
    return MDReport(files.folder, first_step, state.step, temperature, drift)


def identity(atoms: Atoms) -> str:
    """Return what stays of a structure through a run, in words: its atoms in their order, and where it repeats."""
    order = hashlib.sha256(np.asarray(atoms.numbers, dtype="<i8").tobytes()).hexdigest()[:12]
    axes = "".join(axis for axis, periodic in zip("xyz", atoms.pbc, strict=True) if periodic)
    return f"{atoms.get_chemical_formula()} (order {order}), periodic in {axes or 'no direction'}"


class SystemRun:
    """A structure under an integrator, and how its states are written."""

    def __init__(self, potential: Potential, atoms: Atoms, settings: MDSettings) -> None:
        self.settings = settings
        self.atoms = atoms.copy()
        self.mobile = mobile_atoms(atoms, settings.ensemble)
        batch = batch_from_atoms(atoms, device=potential.device, dtype=potential.dtype)
        batch.validate_values()
        self.has_pressure = bool(atoms.pbc.all()) and "stress" in potential.supports
        if settings.ensemble == "npt":
            if "stress" not in potential.supports:
                raise UnsupportedError(f"{potential.card.name} gives no stress, so it cannot run npt; use nvt")
            if not atoms.pbc.all():
                raise InputError(
                    f"npt needs a cell that is periodic in all directions, got pbc {atoms.pbc.tolist()}; "
                    "set the cell in the structure file, or use nvt"
                )
            check_has_volume(batch)
        self.masses: Array = np.asarray(atoms.get_masses(), dtype=np.float64)[:, None]
        if not (self.masses > 0).all():
            raise InputError("every atom needs a positive mass; check the masses in the structure file")
        self.random = np.random.default_rng(settings.seed)
        self.surface = Surface(potential, batch, self.mobile)
        self.n_degrees = 3 * len(atoms) if self.mobile is None else 3 * int(self.mobile.sum())
        self.integrator = self._integrator()

    def _integrator(self) -> Integrator:
        settings = self.settings
        timestep = settings.timestep_fs / FS_PER_TIME_UNIT
        if settings.ensemble == "nve" or settings.temperature_kelvin is None:
            velocities = self.atoms.get_velocities()
            _, still, rotations = self._still(velocities, self.atoms.get_positions())
            self.n_degrees -= still + rotations
            return VelocityVerlet(self.surface, self.masses, timestep)
        thermal_energy = EV_PER_KELVIN * settings.temperature_kelvin
        friction = settings.friction_per_ps * FS_PER_TIME_UNIT / 1000.0
        langevin = Langevin(self.surface, self.masses, timestep, thermal_energy, friction, self.random)
        if settings.ensemble == "nvt":
            return langevin
        return LangevinBarostat(
            langevin,
            settings.pressure_gpa / GPA_PER_EV_PER_ANGSTROM3,
            thermal_energy,
            settings.barostat_time_fs / FS_PER_TIME_UNIT,
            full_cell=settings.full_cell,
        )

    def _still(self, velocities: Array, positions: Array) -> tuple[Array, int, int]:
        """Return velocities without overall motion, and the number of translations and rotations taken out."""
        if self.mobile is not None:
            return velocities, 0, 0
        velocities = without_drift(velocities, self.masses)
        if self.atoms.pbc.any():
            return velocities, 3, 0
        velocities, rotations = without_rotation(velocities, positions, self.masses)
        return velocities, 3, rotations

    def start(self) -> MDState:
        """Return the first state, its energy and forces not yet computed."""
        positions = self.atoms.get_positions()
        if self.settings.temperature_kelvin is None:
            if not self.atoms.has("momenta"):
                raise InputError(
                    "the structure has no velocities, so the run needs a temperature to draw them from; give "
                    "temperature_kelvin (--temperature-kelvin), or a structure with velocities"
                )
            velocities = self.atoms.get_velocities()
            if not np.isfinite(velocities).all():
                raise InputError("the structure's velocities must be finite; give a temperature to draw others")
        else:
            velocities = thermal_velocities(self.masses, self.settings.temperature_kelvin, self.random)
        if self.mobile is not None:
            velocities = velocities * self.mobile
        velocities, _, _ = self._still(velocities, positions)
        cell = np.asarray(self.atoms.cell, dtype=np.float64)[None]
        return MDState(0, positions, velocities, cell, float("nan"), np.zeros_like(positions))

    def resume(self, files: RunFolder) -> MDState:
        """Return the state of the last checkpoint, computed anew."""
        checkpoint = files.resume()
        if checkpoint.state.positions.shape != (len(self.atoms), 3):
            raise InputError(
                f"{files.folder} holds a run of {len(checkpoint.state.positions)} atoms, the structure given has "
                f"{len(self.atoms)}; give the structure the run was begun with"
            )
        self.random.bit_generator.state = dict(checkpoint.random)
        return self.surface.refresh(checkpoint.state, want_stress=self.wants_stress(checkpoint.state.step))

    def wants_stress(self, step: int) -> bool:
        """Say whether the log of this step has a pressure."""
        return self.has_pressure and (step % self.settings.log_every == 0 or step >= self.settings.n_steps)

    def write(self, files: RunFolder, state: MDState, *, last: bool = False) -> MDState:
        """Write what is due at this step; return the state as a process that reads the files would have it."""
        settings = self.settings
        last = last or state.step >= settings.n_steps
        if (last or state.step % settings.log_every == 0) and files.last_row != state.step:
            files.append_row(self.row(state))
        if (last or state.step % settings.frame_every == 0) and files.last_frame != state.step:
            files.append_frame(self.frame(state), state.step)
        if last or state.step % settings.checkpoint_every == 0:
            files.write_checkpoint(state, self.random.bit_generator.state)
            # A resumed run has no neighbours under a skin, whose order decides the last bit of every sum; nor has this.
            self.surface.forget()
            state = self.surface.refresh(state, want_stress=self.wants_stress(state.step))
        return state

    def row(self, state: MDState) -> dict[str, float | int | None]:
        """Return a line of the log."""
        kinetic = state.kinetic_energy(self.masses)
        total = state.energy + kinetic
        pressure = None
        if self.has_pressure and state.stress is not None:
            ideal = 2.0 * kinetic / (3.0 * volume_of(state))
            pressure = (ideal - float(np.trace(state.stress)) / 3.0) * GPA_PER_EV_PER_ANGSTROM3
        return {
            "step": state.step,
            "time_fs": state.step * self.settings.timestep_fs,
            "potential_energy": state.energy,
            "kinetic_energy": kinetic,
            "total_energy": total,
            "conserved_energy": self.conserved(state),
            "temperature_kelvin": 2.0 * kinetic / (self.n_degrees * EV_PER_KELVIN) if self.n_degrees > 0 else 0.0,
            "pressure_gpa": pressure,
            "volume": volume_of(state) if self.atoms.pbc.all() else None,
        }

    def conserved(self, state: MDState) -> float:
        """Return what an exact integrator would keep: the total energy less what the baths put in, eV."""
        return state.energy + state.kinetic_energy(self.masses) - state.bath_energy

    def frame(self, state: MDState) -> Atoms:
        """Return the state as ASE's structure, with its energy, forces and velocities."""
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.stress import full_3x3_to_voigt_6_stress

        atoms = self.atoms.copy()
        atoms.set_constraint(self.atoms.constraints)
        atoms.set_cell(state.cell[0])
        atoms.set_positions(state.positions, apply_constraint=False)
        atoms.set_momenta(self.masses * state.velocities, apply_constraint=False)
        results: dict[str, Any] = {"energy": state.energy, "forces": state.forces}
        if state.stress is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(state.stress)
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["step"] = state.step
        atoms.info["time_fs"] = state.step * self.settings.timestep_fs
        return atoms


def _summarise(log: Path) -> tuple[float, float]:
    """Return mean temperature of the second half (kelvin) and the change of the conserved energy (eV)."""
    with log.open(newline="") as stream:
        rows = [(float(row["temperature_kelvin"]), float(row["conserved_energy"])) for row in csv.DictReader(stream)]
    second_half = rows[len(rows) // 2 :]
    return sum(row[0] for row in second_half) / len(second_half), rows[-1][1] - rows[0][1]
