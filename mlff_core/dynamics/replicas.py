"""Many structures run at once: copies with velocities of their own, or different structures, in one batch."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlff_core.dynamics.files import COLUMNS, LOG, RunFolder, alone_in_its_folder
from mlff_core.dynamics.integrators import LONGEST_JUMP, check_jump
from mlff_core.dynamics.noise import Noise
from mlff_core.dynamics.settings import MDSettings
from mlff_core.dynamics.simulation import SystemRun, identity
from mlff_core.dynamics.state import Array, MDState
from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.potentials.interface import Potential, VerletPotential
from mlff_core.structures.batch import concatenate
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT

if TYPE_CHECKING:
    from ase import Atoms

REPLICA_COLUMNS = (COLUMNS[0], "replica", *COLUMNS[1:])


@dataclass(frozen=True)
class ReplicasReport:
    """What a run of many structures came to.

    Parameters
    ----------
    folder
        Where its files are.
    first_step, last_step
        Where this call began and ended.
    temperatures_kelvin
        Of each structure, mean over the log's lines of the second half of the whole run, kelvin.
    conserved_drifts
        Of each structure, change of the conserved energy from the first line of the log to the last, eV.
    """

    folder: Path
    first_step: int
    last_step: int
    temperatures_kelvin: tuple[float, ...]
    conserved_drifts: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ReplicasState:
    """One moment of all structures, atoms one after the other; float64, on the potential's device.

    Parameters
    ----------
    step
        Steps done.
    positions
        Shape (n_atoms, 3), Å.
    velocities
        Shape (n_atoms, 3), Å per Å·√(amu/eV).
    energies
        Shape (n_systems,), eV.
    forces
        Shape (n_atoms, 3), eV/Å; zero on atoms that are held.
    stresses
        Shape (n_systems, 3, 3), eV/Å³; None where they were not asked for.
    bath_energies
        Energy that the thermostat has put in since the start, shape (n_systems,), eV.
    """

    step: int
    positions: Tensor
    velocities: Tensor
    energies: Tensor
    forces: Tensor
    stresses: Tensor | None
    bath_energies: Tensor

    def on_host(self) -> ReplicasState:
        """Return the same moment in the host's memory."""
        stresses = None if self.stresses is None else self.stresses.cpu()
        positions, velocities, forces = self.positions.cpu(), self.velocities.cpu(), self.forces.cpu()
        energies, bath_energies = self.energies.cpu(), self.bath_energies.cpu()
        return ReplicasState(self.step, positions, velocities, energies, forces, stresses, bath_energies)


@alone_in_its_folder
def run_replicas(
    potential: Potential,
    frames: Sequence[Atoms],
    settings: MDSettings,
    folder: str | Path,
    *,
    restart: bool = False,
    model_sha256: str = "",
    on_step: Callable[[int], None] | None = None,
) -> ReplicasReport:
    """Run molecular dynamics of all structures at once and return what it came to.

    Structure k runs as :func:`~mlff_core.dynamics.simulation.run_md` would run it with the seed ``settings.seed + k``;
    they do not see each other. The files are those of ``run_md``, with a column ``replica`` in the log and, in the
    trajectory, a frame of each at ``frame_every`` steps, ``info["replica"]`` being k; ``restart=True`` goes on exactly.

    Parameters
    ----------
    potential
        What moves the atoms.
    frames
        Where they start; ``[atoms] * 64`` for copies.
    settings
        Ensemble (``"nve"`` or ``"nvt"``), length, intervals.
    folder
        Made if it is not there.
    restart
        Go on from the folder's last restart file; begin where there is none.
    model_sha256
        Hash of the model file, so that a run is not continued with another model.
    on_step
        Called with the number of steps done after every step, and with the first one.

    Raises
    ------
    InputError
        A structure or the settings cannot be used, the folder is in use, or one structure became unphysical, which
        stops all. The last good step is then in trajectory and restart file.
    UnsupportedError
        ``"npt"``, or an element, charge or property that the potential does not have.
    CheckpointError
        The files of the run to be continued are damaged.
    """
    run = _Replicas(potential, frames, settings)
    files = RunFolder(Path(folder), settings.trajectory, REPLICA_COLUMNS)
    record = {
        "model": potential.card.name,
        "model_sha256": model_sha256,
        "structures": [identity(atoms) for atoms in frames],
        "settings": asdict(settings),
    }
    if restart and files.holds_restart:
        files.check_same(record)
        state = run.resume(files)
    else:
        if not (restart and files.read_record()):
            files.check_unused()
        state = run.start()
        files.begin(record)
        run.write(files, state)
    first_step = state.step
    try:
        if on_step is not None:
            on_step(state.step)
        while state.step < settings.n_steps:
            try:
                state = run.advance(state)
            except MlffError as error:
                run.write(files, state, last=True)
                raise InputError(
                    f"the run stopped after step {state.step} ({state.step * settings.timestep_fs:g} fs): {error}. "
                    f"Atoms are counted through all structures. The last good step is in {files.folder}"
                ) from error
            state = run.write(files, state)
            if on_step is not None:
                on_step(state.step)
    finally:
        files.close()
    temperatures, drifts = _summarise(files.folder / LOG, len(frames))
    return ReplicasReport(files.folder, first_step, state.step, temperatures, drifts)


class _Replicas:
    """All structures under one integrator."""

    def __init__(self, potential: Potential, frames: Sequence[Atoms], settings: MDSettings) -> None:
        if not frames:
            raise InputError("no structures to run: the list is empty")
        if settings.ensemble == "npt":
            raise UnsupportedError("many structures at once run in nve or nvt, not in npt; run them one by one")
        self.potential = potential
        self.settings = settings
        self.runs = [
            SystemRun(potential, atoms, replace(settings, seed=settings.seed + k)) for k, atoms in enumerate(frames)
        ]
        self.batch = concatenate([run.surface.batch for run in self.runs])
        self.device = self.batch.device
        self.cell: Array = self.batch.cell.double().cpu().numpy()
        counts = [len(atoms) for atoms in frames]
        self.starts = np.cumsum([0, *counts])
        self.counts = torch.tensor(counts, device=self.device)
        self.masses = self._on_device([run.masses for run in self.runs])
        self.mobile = self._on_device(
            [np.ones_like(run.masses) if run.mobile is None else run.mobile for run in self.runs]
        )
        self.has_pressure = all(run.has_pressure for run in self.runs)
        self.timestep = settings.timestep_fs / FS_PER_TIME_UNIT
        self.keep, self.kick = 1.0, torch.zeros_like(self.masses)
        if settings.ensemble == "nvt" and settings.temperature_kelvin is not None:
            friction = settings.friction_per_ps * FS_PER_TIME_UNIT / 1000.0
            self.keep = float(np.exp(-friction * self.timestep))
            thermal_energy = EV_PER_KELVIN * settings.temperature_kelvin
            self.kick = ((1.0 - self.keep**2) * thermal_energy / self.masses).sqrt() * self.mobile
        self.noise = Noise([run.random for run in self.runs], counts, self.device)
        self._forget()

    def _on_device(self, arrays: Sequence[npt.NDArray[Any]]) -> Tensor:
        """Return arrays of all structures, one after the other, as a float64 tensor where the potential computes."""
        return torch.from_numpy(np.concatenate(arrays).astype(np.float64, copy=False)).to(self.device)

    def _forget(self) -> None:
        self._verlet = VerletPotential(self.potential)

    def start(self) -> ReplicasState:
        """Return the first state."""
        states = [run.start() for run in self.runs]
        positions = self._on_device([state.positions for state in states])
        velocities = self._on_device([state.velocities for state in states])
        nothing = torch.zeros(len(self.runs), dtype=torch.float64, device=self.device)
        return self._arrived(0, positions, velocities, nothing)

    def resume(self, files: RunFolder) -> ReplicasState:
        """Return the state of the last checkpoint, computed anew."""
        checkpoint = files.resume()
        old = checkpoint.state
        if old.positions.shape != self.batch.positions.shape or len(checkpoint.bath_energies) != len(self.runs):
            raise InputError(f"{files.folder} holds a run of other structures; give those the run was begun with")
        self.noise.resume(checkpoint.random["generators"])
        positions, velocities = self._on_device([old.positions]), self._on_device([old.velocities])
        return self._arrived(old.step, positions, velocities, self._on_device([checkpoint.bath_energies]))

    def advance(self, state: ReplicasState) -> ReplicasState:
        """Return the state one step later: the steps of ``VelocityVerlet`` and ``Langevin``, all structures at once."""
        half = 0.5 * self.timestep
        velocities = state.velocities + half * state.forces / self.masses
        bath_energies = state.bath_energies
        if self.settings.ensemble == "nve":
            positions = state.positions + self.timestep * velocities
        else:
            positions = state.positions + half * velocities
            stirred = self.keep * velocities + self.kick * self.noise.draw()
            heat = 0.5 * (self.masses * (stirred**2 - velocities**2)).sum(dim=1)
            # Not index_add, whose order, and so its last bit, is another one at every call on a GPU.
            bath_energies = bath_energies + torch.segment_reduce(heat, "sum", lengths=self.counts, unsafe=True)
            velocities = stirred
            positions = positions + half * stirred
        # `not <=` so that NaN counts as a jump.
        if not float((positions - state.positions).square().sum(dim=1).amax()) <= LONGEST_JUMP**2:
            check_jump(state.positions.cpu().numpy(), positions.cpu().numpy())
        arrived = self._arrived(state.step + 1, positions, velocities, bath_energies)
        return replace(arrived, velocities=velocities + half * arrived.forces / self.masses)

    def _arrived(self, step: int, positions: Tensor, velocities: Tensor, bath_energies: Tensor) -> ReplicasState:
        """Return a state with energies, forces and stresses computed."""
        wants_stress = self.has_pressure and (step % self.settings.log_every == 0 or step >= self.settings.n_steps)
        moved = positions.to(self.batch.dtype)
        want = {"energy", "forces", "stress"} if wants_stress else {"energy", "forces"}
        prediction = self._verlet.predict(self.batch.with_positions(moved), want=want)
        if prediction.forces is None:
            raise UnsupportedError(f"{self.potential.card.name} gives no forces, so nothing can move under it")
        energies, forces = prediction.energy.double(), prediction.forces.double()
        if not bool(energies.isfinite().all() & forces.isfinite().all()):
            raise InputError(f"{self.potential.card.name} gave an energy or a force that is not a finite number")
        stresses = None if prediction.stress is None else prediction.stress.double()
        return ReplicasState(step, positions, velocities, energies, forces * self.mobile, stresses, bath_energies)

    def write(self, files: RunFolder, state: ReplicasState, *, last: bool = False) -> ReplicasState:
        """Write what is due at this step; return the state as a process that reads the files would have it."""
        settings = self.settings
        last = last or state.step >= settings.n_steps
        writes_rows = (last or state.step % settings.log_every == 0) and files.last_row != state.step
        writes_frames = (last or state.step % settings.frame_every == 0) and files.last_frame != state.step
        writes_checkpoint = last or state.step % settings.checkpoint_every == 0
        if not (writes_rows or writes_frames or writes_checkpoint):
            return state
        here = state.on_host()
        if writes_rows:
            for k, run in enumerate(self.runs):
                files.append_row({**run.row(self._of(here, k)), "replica": k})
        if writes_frames:
            for k, run in enumerate(self.runs):
                atoms = run.frame(self._of(here, k))
                atoms.info["replica"] = k
                files.append_frame(atoms, state.step)
        if writes_checkpoint:
            positions, velocities = here.positions.numpy(), here.velocities.numpy()
            whole = MDState(state.step, positions, velocities, self.cell, 0.0, here.forces.numpy())
            files.write_checkpoint(whole, {"generators": self.noise.states()}, here.bath_energies.numpy())
            # A resumed run has no neighbours under a skin, whose order decides the last bit of every sum; nor has this.
            self._forget()
            state = self._arrived(state.step, state.positions, state.velocities, state.bath_energies)
        return state

    def _of(self, state: ReplicasState, k: int) -> MDState:
        """Return the state of one structure, from one in the host's memory."""
        own = slice(self.starts[k], self.starts[k + 1])
        return MDState(
            step=state.step,
            positions=state.positions[own].numpy(),
            velocities=state.velocities[own].numpy(),
            cell=self.cell[k : k + 1],
            energy=float(state.energies[k]),
            forces=state.forces[own].numpy(),
            stress=None if state.stresses is None else state.stresses[k].numpy(),
            bath_energy=float(state.bath_energies[k]),
        )


def _summarise(log: Path, n_replicas: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each structure's mean temperature of the second half (kelvin) and change of conserved energy (eV)."""
    rows: list[list[tuple[float, float]]] = [[] for _ in range(n_replicas)]
    with log.open(newline="") as stream:
        for row in csv.DictReader(stream):
            rows[int(row["replica"])].append((float(row["temperature_kelvin"]), float(row["conserved_energy"])))
    temperatures = tuple(sum(t for t, _ in own[len(own) // 2 :]) / len(own[len(own) // 2 :]) for own in rows)
    return temperatures, tuple(own[-1][1] - own[0][1] for own in rows)
