"""The part of a run that single runs and replicas share: integration, files, and continuing after a kill."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias

import numpy as np

from mlff_core.atomic_write import one_writer
from mlff_core.dynamics.files import RunFolder
from mlff_core.dynamics.integrators import Integrator, Langevin, VelocityVerlet
from mlff_core.dynamics.multiple_time_steps import MultipleTimeSteps
from mlff_core.dynamics.noise import AHEAD, Noise
from mlff_core.dynamics.settings import MDSettings
from mlff_core.dynamics.state import Array, MDState, Numbers, first_state
from mlff_core.dynamics.surface import PotentialSurface
from mlff_core.dynamics.system import System, identity
from mlff_core.errors import InputError, MlffError
from mlff_core.potentials.interface import Potential
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT

Steps: TypeAlias = VelocityVerlet[Numbers] | Langevin[Numbers] | MultipleTimeSteps[Numbers]


class Run(ABC, Generic[Numbers]):
    """Structures moved by one integrator, and the writing of their states.

    Parameters
    ----------
    systems
        The structures.
    settings
        Ensemble, length, intervals.
    surface
        Surface on which they move, in the order of ``systems``.
    inner
        Surface of the inner steps, of the same structures; None without.
    """

    remark: ClassVar[str] = ""
    """Text added to the message about a run that stopped."""

    def __init__(
        self,
        systems: Sequence[System],
        settings: MDSettings,
        surface: PotentialSurface[Numbers],
        inner: PotentialSurface[Numbers] | None = None,
    ) -> None:
        if (settings.inner_steps is None) != (inner is None):
            raise InputError(
                f"an inner potential and inner_steps belong together, got inner_steps {settings.inner_steps} and "
                f"{'no ' if inner is None else 'an '}inner potential; give both (--inner, --inner-steps), or neither"
            )
        self.systems = systems
        self.settings = settings
        self.surface: PotentialSurface[Numbers] = surface
        self.inner: PotentialSurface[Numbers] | None = inner
        self.has_pressure = all(system.has_pressure for system in systems)
        # A barostat draws from the same generators between the steps.
        self.noise: Noise[Numbers] = Noise(
            [system.random for system in systems],
            [len(system.atoms) for system in systems],
            surface.array,
            ahead=1 if settings.ensemble == "npt" else AHEAD,
        )
        self.steps: Steps[Numbers] = self._steps()
        self.integrator: Integrator[Numbers] = self._integrator()

    def _integrator(self) -> Integrator[Numbers]:
        return self.steps

    def _steps(self) -> Steps[Numbers]:
        """Return the integrator at constant volume."""
        settings = self.settings
        masses = self.surface.array(joined([system.masses for system in self.systems]))
        n_inner = settings.inner_steps or 1
        surface = self.surface if self.inner is None else self.inner
        timestep = settings.timestep_fs / FS_PER_TIME_UNIT / n_inner
        integrator: VelocityVerlet[Numbers] | Langevin[Numbers]
        if settings.ensemble == "nve" or settings.temperature_kelvin is None:
            integrator = VelocityVerlet(surface, masses, timestep)
        else:
            thermal_energy = EV_PER_KELVIN * settings.temperature_kelvin
            friction = settings.friction_per_ps * FS_PER_TIME_UNIT / 1000.0
            integrator = Langevin(surface, masses, timestep, thermal_energy, friction, self.noise.draw)
        return integrator if self.inner is None else MultipleTimeSteps(self.surface, integrator, n_inner)

    @abstractmethod
    def _random(self) -> Mapping[str, Any]:
        """Return the state of the random numbers for the restart file."""

    @abstractmethod
    def _resume_random(self, random: Mapping[str, Any]) -> None:
        """Restore the random numbers of a restart file."""

    def start(self) -> MDState[Numbers]:
        """Return the first state."""
        states = [system.start() for system in self.systems]
        state = first_state(
            joined([state.positions for state in states]),
            joined([state.velocities for state in states]),
            self._cells([state.cell for state in states]),
        )
        return self._computed(self.surface.placed(state))

    def _cells(self, cells: Sequence[Array]) -> Array:
        """Return the cells at the start of the run, shape (n_systems, 3, 3), Å, from those of the structures."""
        return joined(cells)

    def resume(self, files: RunFolder) -> MDState[Numbers]:
        """Return the state of the last checkpoint, with energies and forces computed again."""
        checkpoint = files.resume()
        state = checkpoint.state
        n_atoms = sum(len(system.atoms) for system in self.systems)
        if state.positions.shape != (n_atoms, 3) or len(state.bath_energies) != len(self.systems):
            raise InputError(
                f"{files.folder} holds a run of {len(state.bath_energies)} structures with {len(state.positions)} "
                f"atoms, but got {len(self.systems)} with {n_atoms}; give the structures the run was started with"
            )
        self._resume_random(checkpoint.random)
        return self._computed(self.surface.placed(state))

    def advance(self, state: MDState[Numbers]) -> MDState[Numbers]:
        """Return the state one step later."""
        return self.integrator.advance(state, want_stress=self._wants_stress(state.step + 1))

    def _computed(self, state: MDState[Numbers]) -> MDState[Numbers]:
        state = self.surface.refresh(state, want_stress=self._wants_stress(state.step))
        if isinstance(self.steps, MultipleTimeSteps):
            self.steps.begin(state)
        return state

    def _wants_stress(self, step: int) -> bool:
        """Return whether the log of this step has a pressure."""
        return self.has_pressure and (step % self.settings.log_every == 0 or step >= self.settings.n_steps)

    def write(self, files: RunFolder, state: MDState[Numbers], *, last: bool = False) -> MDState[Numbers]:
        """Write the outputs due at this step; return the state as it would be read back from the files."""
        settings = self.settings
        last = last or state.step >= settings.n_steps
        rows_fit = state.step % settings.log_every == 0
        frames_fit = state.step % settings.frame_every == 0
        rows_are_due = (last or rows_fit) and files.last_row != state.step
        frames_are_due = (last or frames_fit) and files.last_frame != state.step
        checkpoint_is_due = last or state.step % settings.checkpoint_every == 0
        if not (rows_are_due or frames_are_due or checkpoint_is_due):
            return state
        here = self.surface.on_host(state)
        if rows_are_due and rows_fit:
            self._write_rows(files, here)
        if frames_are_due and frames_fit:
            self._write_frames(files, here)
        if checkpoint_is_due:
            files.write_checkpoint(here, self._random())
        # The last step is written even between two intervals. The checkpoint does not count that, so that a run made
        # longer drops it and has rows and frames at equal intervals.
        if rows_are_due and not rows_fit:
            self._write_rows(files, here)
        if frames_are_due and not frames_fit:
            self._write_frames(files, here)
        if checkpoint_is_due:
            # A resumed run has no neighbour list, whose order decides the last bit of every sum: drop it here too.
            self.surface.forget()
            if self.inner is not None:
                self.inner.forget()
            state = self._computed(state)
        return state

    def _write_rows(self, files: RunFolder, here: MDState[Array]) -> None:
        for k, system in enumerate(self.systems):
            files.append_row({**system.row(here.one(k, self.surface.atoms[k])), "replica": k})

    def _write_frames(self, files: RunFolder, here: MDState[Array]) -> None:
        for k, system in enumerate(self.systems):
            atoms = system.frame(here.one(k, self.surface.atoms[k]))
            if "replica" in files.columns:
                atoms.info["replica"] = k
            files.append_frame(atoms, here.step)


@dataclass(frozen=True)
class RunSpan:
    """The part of a run that one call has done."""

    folder: Path
    """Folder of the files."""
    first_step: int
    last_step: int
    """First and last step of the call."""


def record_of(
    potential: Potential,
    model_sha256: str,
    systems: Sequence[System],
    settings: MDSettings,
    *,
    single: bool,
    inner: Potential | None = None,
    inner_sha256: str = "",
) -> dict[str, Any]:
    """Return the contents of ``run.json``, with which a continued run is compared."""
    identities = [identity(system.atoms) for system in systems]
    return {
        "model": potential.card.name,
        "model_sha256": model_sha256,
        **({} if inner is None else {"inner": inner.card.name, "inner_sha256": inner_sha256}),
        **({"structure": identities[0]} if single else {"structures": identities}),
        "settings": asdict(settings),
    }


def drive(
    run: Run[Numbers],
    files: RunFolder,
    record: Mapping[str, Any],
    *,
    restart: bool,
    on_step: Callable[[MDState[Numbers]], None] | None,
) -> tuple[int, int]:
    """Run to the end and return the first and the last step of this call.

    Parameters
    ----------
    run
        The run.
    files
        Files to write.
    record
        Description of the run; a continued run must have the same.
    restart
        Continue from the last restart file; start at step 0 if there is none.
    on_step
        Called with the state after every step, and with the first one.

    Raises
    ------
    InputError
        The folder already holds a run, another process writes it, or a structure became unphysical.
    CheckpointError
        The files of the run to be continued are damaged.
    """
    with one_writer(files.folder):
        if restart and files.holds_restart:
            files.check_same(record)
            state = run.resume(files)
            if state.step >= run.settings.n_steps:
                state = run.write(files, state)
        else:
            if not (restart and files.read_record()):
                files.check_unused()
            state = run.start()
            files.begin(record)
            run.write(files, state)
        first_step, settings = state.step, run.settings
        try:
            if on_step is not None:
                on_step(state)
            while state.step < settings.n_steps:
                try:
                    state = run.advance(state)
                except MlffError as error:
                    run.write(files, state, last=True)
                    raise InputError(
                        f"the run stopped after step {state.step} ({state.step * settings.timestep_fs:g} fs): {error}. "
                        f"{run.remark}The last good step is in {files.folder}"
                    ) from error
                state = run.write(files, state)
                if on_step is not None:
                    on_step(state)
        finally:
            files.close()
        return first_step, state.step


def summarise(log: Path, n_systems: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each structure's mean temperature of the second half (kelvin) and change of the conserved energy (eV)."""
    rows: list[list[tuple[float, float]]] = [[] for _ in range(n_systems)]
    with log.open(newline="") as stream:
        for row in csv.DictReader(stream):
            own = rows[int(row.get("replica", 0))]
            own.append((float(row["temperature_kelvin"]), float(row["conserved_energy"])))
    temperatures = tuple(sum(t for t, _ in own[len(own) // 2 :]) / len(own[len(own) // 2 :]) for own in rows)
    return temperatures, tuple(own[-1][1] - own[0][1] for own in rows)


def joined(arrays: Sequence[Array]) -> Array:
    """Return arrays of all structures, concatenated, any unit; a single array is returned itself."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
