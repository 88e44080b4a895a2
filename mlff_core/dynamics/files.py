"""The files of a run: log, trajectory, and the restart file that says how much of both is good.

All in one file because each is cut back to what the restart file vouches for.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from mlff_core.atomic_write import make_folder, one_writer, write_atomically
from mlff_core.dynamics.state import Array, MDState
from mlff_core.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from ase import Atoms

F = TypeVar("F", bound=Callable[..., Any])

LOG = "log.csv"
RESTART = "restart.npz"
RECORD = "run.json"
COLUMNS = (
    "step",
    "time_fs",
    "potential_energy",
    "kinetic_energy",
    "total_energy",
    "conserved_energy",
    "temperature_kelvin",
    "pressure_gpa",
    "volume",
)
"""Of the log; energies in eV, volume in Å³; pressure and volume are empty where there is no periodic cell."""


FREE_TO_CHANGE = ("n_steps", "log_every", "frame_every")
"""Settings in which a continued run may differ from what it was begun with."""


TOLD_DIFFERENCES = 3
"""Differences that a message names; of a thousand structures a thousand may differ."""


@dataclass(frozen=True)
class Checkpoint:
    """What a restart file holds.

    Parameters
    ----------
    state
        The moment it was written; energy and forces are computed anew.
    random
        State of the random numbers.
    log_bytes
        Length of the log at that moment.
    n_frames, trajectory_bytes
        Frames in the trajectory, and its length.
    last_frame, last_row
        Steps of the last frame and of the last line of the log.
    bath_energies
        Energy that thermostat and barostat have put in, one for each structure run together, shape (n_systems,), eV.
    """

    state: MDState
    random: Mapping[str, Any]
    log_bytes: int
    n_frames: int
    trajectory_bytes: int
    last_frame: int
    last_row: int
    bath_energies: Array


def alone_in_its_folder(run: F) -> F:
    """Return the function, refused while another process writes into its argument ``folder``."""
    signature = inspect.signature(run)

    @functools.wraps(run)
    def alone(*arguments: Any, **options: Any) -> Any:
        with one_writer(Path(signature.bind(*arguments, **options).arguments["folder"])):
            return run(*arguments, **options)

    return cast("F", alone)


class RunFolder:
    """Writes the files of a run; what a kill leaves beyond the last restart file is cut off by :meth:`resume`.

    Parameters
    ----------
    folder
        Made if it is not there.
    trajectory
        File name; ``.traj`` is ASE's binary format, anything else extended xyz.
    columns
        Of the log.
    """

    def __init__(self, folder: Path, trajectory: str, columns: Sequence[str] = COLUMNS) -> None:
        self.folder = folder
        self.columns = columns
        self.trajectory = folder / trajectory
        self.n_frames = 0
        self.last_frame = -1
        self.last_row = -1
        self._log: IO[bytes] | None = None
        self._frames: Any = None

    @property
    def holds_restart(self) -> bool:
        """True if a run can go on from here."""
        return (self.folder / RESTART).exists()

    def check_unused(self) -> None:
        """Refuse to write over files that are there.

        Raises
        ------
        InputError
            Names the file.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; give a folder for the run")
        for path in (self.folder / RESTART, self.folder / LOG, self.trajectory):
            if path.exists():
                raise InputError(
                    f"{self.folder} already holds {path.name}; continue that run with --restart (restart=True in "
                    "Python), or give another folder"
                )

    def begin(self, record: Mapping[str, Any]) -> None:
        """Start empty files, and write the record of the run."""
        make_folder(self.folder)
        write_atomically(self.folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())
        self.trajectory.unlink(missing_ok=True)
        self._log = (self.folder / LOG).open("wb")
        self._log.write((",".join(self.columns) + "\n").encode())
        self._open_trajectory("w")

    def read_record(self) -> dict[str, Any]:
        """Return the record of the run, empty if there is none.

        Raises
        ------
        CheckpointError
            It is damaged.
        """
        path = self.folder / RECORD
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error}; start the run anew in another folder") from error
        return content if isinstance(content, dict) else {}

    def check_same(self, record: Mapping[str, Any]) -> None:
        """Refuse to continue a run with another model or other settings than it was begun with.

        Raises
        ------
        InputError
            Names what differs.
        """
        before, now = _flat(self.read_record()), _flat(json.loads(json.dumps(record)))
        differences = [
            f"{name} was {before.get(name)!r} and is now {value!r}"
            for name, value in now.items()
            if name not in FREE_TO_CHANGE and before.get(name) != value
        ]
        if differences:
            told = "; ".join(differences[:TOLD_DIFFERENCES])
            more = f"; and {len(differences) - TOLD_DIFFERENCES} more" if len(differences) > TOLD_DIFFERENCES else ""
            raise InputError(
                f"the run in {self.folder} cannot be continued: {told}{more}. "
                "Give what it was begun with, or start another run in another folder"
            )

    def resume(self) -> Checkpoint:
        """Return the last checkpoint, with log and trajectory cut back to it and open at their ends.

        Raises
        ------
        CheckpointError
            The restart file is damaged, or log or trajectory are shorter than it says.
        """
        checkpoint = self.read_checkpoint()
        log = self.folder / LOG
        _cut(log, checkpoint.log_bytes)
        if self.trajectory.suffix == ".traj":
            _cut_traj(self.trajectory, checkpoint.n_frames)
        else:
            _cut(self.trajectory, checkpoint.trajectory_bytes)
        self.n_frames = checkpoint.n_frames
        self.last_frame, self.last_row = checkpoint.last_frame, checkpoint.last_row
        self._log = log.open("ab")
        self._open_trajectory("a")
        return checkpoint

    def read_checkpoint(self) -> Checkpoint:
        """Return the last checkpoint and change nothing.

        Raises
        ------
        CheckpointError
            The restart file is damaged.
        """
        path = self.folder / RESTART
        try:
            # Opened here: numpy leaves the file open where it is no archive.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                numbers = json.loads(str(arrays["numbers"]))
                bath_energies = np.atleast_1d(arrays["bath_energy"])
                state = MDState(
                    step=numbers["step"],
                    positions=arrays["positions"],
                    velocities=arrays["velocities"],
                    cell=arrays["cell"],
                    energy=float("nan"),
                    forces=np.full_like(arrays["positions"], np.nan),
                    bath_energy=float(bath_energies.sum()),
                )
            return Checkpoint(
                state,
                numbers["random"],
                numbers["log_bytes"],
                numbers["n_frames"],
                numbers["trajectory_bytes"],
                numbers["last_frame"],
                numbers["last_row"],
                bath_energies,
            )
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} is damaged: {error}; start the run anew in another folder") from error

    def append_row(self, row: Mapping[str, float | int | None]) -> None:
        """Write a line of the log; None leaves its column empty."""
        if self._log is None:
            raise RuntimeError("the run's files are not open")
        cells = ("" if row[name] is None else repr(row[name]) for name in self.columns)
        self._log.write((",".join(cells) + "\n").encode())
        self._log.flush()
        self.last_row = int(row["step"] or 0)

    def append_frame(self, atoms: Atoms, step: int) -> None:
        """Write a frame of the trajectory."""
        if self.trajectory.suffix == ".traj":
            self._frames.write(atoms)
        else:
            from ase.io import write

            text = io.StringIO()
            write(text, atoms, format="extxyz")
            self._frames.write(text.getvalue().encode())
            self._frames.flush()
        self.n_frames += 1
        self.last_frame = step

    def write_checkpoint(self, state: MDState, random: Mapping[str, Any], bath_energies: Array | None = None) -> None:
        """Write the restart file by rename, after what it counts on is on the disk.

        Parameters
        ----------
        state
            What is to go on.
        random
            State of the random numbers.
        bath_energies
            Of each structure, shape (n_systems,), eV, where several run together.
        """
        if self._log is None:
            raise RuntimeError("the run's files are not open")
        os.fsync(self._log.fileno())
        if self.trajectory.suffix != ".traj":
            os.fsync(self._frames.fileno())
        numbers = {
            "step": state.step,
            "random": random,
            "log_bytes": (self.folder / LOG).stat().st_size,
            "n_frames": self.n_frames,
            "trajectory_bytes": self.trajectory.stat().st_size if self.trajectory.exists() else 0,
            "last_frame": self.last_frame,
            "last_row": self.last_row,
        }
        content = io.BytesIO()
        np.savez(
            content,
            positions=state.positions,
            velocities=state.velocities,
            cell=state.cell,
            bath_energy=state.bath_energy if bath_energies is None else bath_energies,
            numbers=json.dumps(numbers),
        )
        write_atomically(self.folder / RESTART, content.getvalue())

    def close(self) -> None:
        """Close log and trajectory."""
        for stream in (self._log, self._frames):
            if stream is not None:
                stream.close()

    def _open_trajectory(self, mode: str) -> None:
        if self.trajectory.suffix == ".traj":
            from ase.io.trajectory import TrajectoryWriter

            self._frames = TrajectoryWriter(str(self.trajectory), mode=mode)
        else:
            self._frames = self.trajectory.open(f"{mode}b")


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its settings beside the rest, and one entry for each structure of several."""
    found = {**record, **record.get("settings", {}), "settings": None}
    if isinstance(structures := found.pop("structures", None), list):
        found["n_structures"] = len(structures)
        found |= {f"structure {k}": structure for k, structure in enumerate(structures)}
    return found


def _cut(path: Path, length: int) -> None:
    size = path.stat().st_size if path.exists() else -1
    if size < length:
        raise CheckpointError(
            f"{path} is shorter than the restart file says ({size} of {length} bytes): it was changed or lost; "
            "start the run anew in another folder"
        )
    with path.open("r+b") as stream:
        stream.truncate(length)


def _cut_traj(path: Path, n_frames: int) -> None:
    """Keep the first frames; ASE's binary format has its index in place, so the good part is copied."""
    from ase.io.trajectory import TrajectoryReader, TrajectoryWriter

    temporary = path.with_name(f".{path.name}.cut")
    try:
        with TrajectoryReader(str(path)) as old, TrajectoryWriter(str(temporary)) as cut:
            if len(old) < n_frames:
                raise CheckpointError(
                    f"{path} is shorter than the restart file says ({len(old)} of {n_frames} frames): it was changed "
                    "or lost; start the run anew in another folder"
                )
            for k in range(n_frames):
                cut.write(old[k])
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be continued: {error}; start the run anew in another folder") from error
    finally:
        temporary.unlink(missing_ok=True)
