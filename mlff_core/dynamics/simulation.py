"""Molecular dynamics of one structure, with log, trajectory and restart file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.dynamics.barostat import LangevinBarostat
from mlff_core.dynamics.driver import Run, RunSpan, drive, record_of, summarise
from mlff_core.dynamics.files import LOG, RunFolder
from mlff_core.dynamics.integrators import Integrator, VelocityVerlet
from mlff_core.dynamics.settings import MDSettings
from mlff_core.dynamics.state import Array, MDState
from mlff_core.dynamics.surface import HostSurface
from mlff_core.dynamics.system import System
from mlff_core.potentials.interface import Potential
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT, GPA_PER_EV_PER_ANGSTROM3

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class MDReport(RunSpan):
    """Results of a run."""

    temperature_kelvin: float
    """Mean temperature over the rows of the log in the second half of the whole run, kelvin."""
    conserved_drift: float
    """Change of the conserved energy from the first row of the log to the last, eV."""


def run_md(
    potential: Potential,
    atoms: Atoms,
    settings: MDSettings,
    folder: str | Path,
    *,
    restart: bool = False,
    model_sha256: str = "",
    inner: Potential | None = None,
    inner_sha256: str = "",
    on_step: Callable[[MDState[Array]], None] | None = None,
) -> MDReport:
    """Run molecular dynamics and return its results.

    ``folder`` gets ``log.csv``, the trajectory, ``run.json`` (settings and model) and ``restart.npz``, replaced by
    rename every ``checkpoint_every`` steps: a run that is killed at any time continues from there with
    ``restart=True`` and ends with the same numbers as an uninterrupted run.

    Parameters
    ----------
    potential
        Gives the forces.
    atoms
        Starting structure; atoms held by ASE's ``FixAtoms`` do not move (not with ``"npt"``).
    settings
        Ensemble, length, intervals.
    folder
        Path; made if it does not exist.
    restart
        Continue from the folder's last restart file; start at step 0 if there is none.
    model_sha256
        Hash of the model file, so that a run is not continued with another model.
    inner, inner_sha256
        A cheaper potential for ``settings.inner_steps`` steps in each time step, and the hash of its file: see
        :class:`~mlff_core.dynamics.multiple_time_steps.MultipleTimeSteps`.
    on_step
        Called with the state after every step, and with the first one.

    Raises
    ------
    InputError
        The structure or settings cannot be used, the folder holds a run or another process writes it, or the run became
        unphysical: atoms that overlap, jump or have positions that are not finite. The last good step is then in
        trajectory and restart file.
    UnsupportedError
        An element, charge or property that the potential does not have.
    CheckpointError
        The files of the run to be continued are damaged.
    """
    system = System(potential, atoms, settings)
    run = _SingleRun(potential, system, settings, inner)
    files = RunFolder(Path(folder), settings.trajectory)
    record = record_of(potential, model_sha256, [system], settings, single=True, inner=inner, inner_sha256=inner_sha256)
    first_step, last_step = drive(run, files, record, restart=restart, on_step=on_step)
    (temperature,), (drift,) = summarise(files.folder / LOG, 1)
    return MDReport(files.folder, first_step, last_step, temperature, drift)


class _SingleRun(Run[Array]):
    """One structure, in the host's memory."""

    def __init__(self, potential: Potential, system: System, settings: MDSettings, inner: Potential | None) -> None:
        inside = None if inner is None else HostSurface(inner, system.batch, system.mobile)
        super().__init__([system], settings, HostSurface(potential, system.batch, system.mobile), inside)

    def _integrator(self) -> Integrator[Array]:
        settings, thermostat = self.settings, self.steps
        if settings.ensemble != "npt" or settings.temperature_kelvin is None or isinstance(thermostat, VelocityVerlet):
            return thermostat
        return LangevinBarostat(
            thermostat,
            settings.pressure_gpa / GPA_PER_EV_PER_ANGSTROM3,
            EV_PER_KELVIN * settings.temperature_kelvin,
            settings.barostat_time_fs / FS_PER_TIME_UNIT,
            [system.random for system in self.systems],
            full_cell=settings.full_cell,
        )

    def _random(self) -> Mapping[str, Any]:
        return self.noise.states()[0]

    def _resume_random(self, random: Mapping[str, Any]) -> None:
        self.noise.resume([random])
