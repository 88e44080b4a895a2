"""The files of a run: log, trajectory and restart file, and the record of its settings and structures."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from mlff_core.atomic_write import make_folder, write_atomically
from mlff_core.dynamics.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
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
"""Columns of the log; energies in eV, volume in Å³; pressure and volume are empty where there is no periodic cell."""

FREE_TO_CHANGE = ("n_steps", "log_every", "frame_every")
"""Settings that may change when a run is continued."""

NAMED_DIFFERENCES = 3
"""Largest number of differences named in a message; a thousand structures may all differ."""


class RunFolder:
    """Writes the files of a run; :meth:`resume` cuts off output later than the last restart file.

    Parameters
    ----------
    folder
        Path; made if it does not exist.
    trajectory
        File name; ``.traj`` is ASE's binary format, anything else extended xyz.
    columns
        Columns of the log.
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
        """Whether a run can be continued from here."""
        return (self.folder / RESTART).exists()

    def check_unused(self) -> None:
        """Check that no file of a run would be overwritten.

        Raises
        ------
        InputError
            The message names the file.
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
        """Create empty files, and write the record of the run."""
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
            raise CheckpointError(f"{path} is damaged: {error}; start the run again in another folder") from error
        return content if isinstance(content, dict) else {}

    def check_same(self, record: Mapping[str, Any]) -> None:
        """Check that a run is continued with the model and settings it was started with.

        Raises
        ------
        InputError
            The message names the differences.
        """
        before, now = _flat(self.read_record()), _flat(json.loads(json.dumps(record)))
        differences = [
            f"{name} was {before.get(name)!r} and is now {value!r}"
            for name, value in now.items()
            if name not in FREE_TO_CHANGE and before.get(name) != value
        ]
        if differences:
            named = "; ".join(differences[:NAMED_DIFFERENCES])
            more = f"; and {len(differences) - NAMED_DIFFERENCES} more" if len(differences) > NAMED_DIFFERENCES else ""
            raise InputError(
                f"the run in {self.folder} cannot be continued: {named}{more}. "
                "Give the same as at its start, or start another run in another folder"
            )

    def resume(self) -> Checkpoint:
        """Return the last checkpoint, with log and trajectory truncated to it and open for appending.

        Raises
        ------
        CheckpointError
            The restart file is damaged, or log or trajectory are shorter than it records.
        """
        checkpoint = read_checkpoint(self.folder / RESTART)
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

    def append_row(self, row: Mapping[str, float | int | None]) -> None:
        """Write a row of the log; None leaves its column empty."""
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

    def write_checkpoint(self, state: MDState[Array], random: Mapping[str, Any]) -> None:
        """Write the restart file by rename, after log and trajectory are on the disk.

        Parameters
        ----------
        state
            The state to continue from.
        random
            State of the random numbers.
        """
        if self._log is None:
            raise RuntimeError("the run's files are not open")
        os.fsync(self._log.fileno())
        if self.trajectory.suffix != ".traj":
            os.fsync(self._frames.fileno())
        checkpoint = Checkpoint(
            state,
            random,
            log_bytes=(self.folder / LOG).stat().st_size,
            n_frames=self.n_frames,
            trajectory_bytes=self.trajectory.stat().st_size if self.trajectory.exists() else 0,
            last_frame=self.last_frame,
            last_row=self.last_row,
        )
        write_checkpoint(self.folder / RESTART, checkpoint)

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
    """Return a record without nesting: settings beside the rest, and one entry for each of several structures."""
    found = {**record, **record.get("settings", {}), "settings": None}
    if isinstance(structures := found.pop("structures", None), list):
        found["n_structures"] = len(structures)
        found |= {f"structure {k}": structure for k, structure in enumerate(structures)}
    return found


def _cut(path: Path, length: int) -> None:
    size = path.stat().st_size if path.exists() else -1
    if size < length:
        raise CheckpointError(
            f"{path} is shorter than the restart file records ({size} of {length} bytes): it was changed or lost; "
            "start the run again in another folder"
        )
    with path.open("r+b") as stream:
        stream.truncate(length)


def _cut_traj(path: Path, n_frames: int) -> None:
    """Keep the first frames; the index of ASE's binary format cannot be truncated, so the frames are copied."""
    from ase.io.trajectory import TrajectoryReader, TrajectoryWriter

    temporary = path.with_name(f".{path.name}.cut")
    try:
        with TrajectoryReader(str(path)) as old, TrajectoryWriter(str(temporary)) as cut:
            if len(old) < n_frames:
                raise CheckpointError(
                    f"{path} is shorter than the restart file records ({len(old)} of {n_frames} frames): it was "
                    "changed or lost; start the run again in another folder"
                )
            for k in range(n_frames):
                cut.write(old[k])
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be continued: {error}; start the run again in another folder") from error
    finally:
        temporary.unlink(missing_ok=True)
