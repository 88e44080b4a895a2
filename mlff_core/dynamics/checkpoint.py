"""The restart file of a run: state, random numbers, and the lengths of the log and trajectory that belong to it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlff_core.atomic_write import write_atomically
from mlff_core.dynamics.state import Array, MDState, first_state
from mlff_core.errors import CheckpointError


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a restart file."""

    state: MDState[Array]
    """State when it was written; energies and forces are computed again."""
    random: Mapping[str, Any]
    """State of the random numbers."""
    log_bytes: int
    """Length of the log at that time."""
    n_frames: int
    trajectory_bytes: int
    """Number of frames in the trajectory, and its length in bytes."""
    last_frame: int
    last_row: int
    """Steps of the last frame and of the last line of the log."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the contents of a restart file.

    Raises
    ------
    CheckpointError
        It is damaged.
    """
    try:
        # Opened here: numpy leaves the file open if it is not an archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            numbers = json.loads(str(arrays["numbers"]))
            state = replace(
                first_state(arrays["positions"], arrays["velocities"], arrays["cell"]),
                step=numbers["step"],
                bath_energies=np.atleast_1d(arrays["bath_energy"]),
            )
        return Checkpoint(
            state,
            numbers["random"],
            numbers["log_bytes"],
            numbers["n_frames"],
            numbers["trajectory_bytes"],
            numbers["last_frame"],
            numbers["last_row"],
        )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged: {error}; start the run again in another folder") from error


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a restart file by rename."""
    state = checkpoint.state
    numbers = {
        "step": state.step,
        "random": checkpoint.random,
        "log_bytes": checkpoint.log_bytes,
        "n_frames": checkpoint.n_frames,
        "trajectory_bytes": checkpoint.trajectory_bytes,
        "last_frame": checkpoint.last_frame,
        "last_row": checkpoint.last_row,
    }
    # A single run has one number, where replicas have an array.
    several = "generators" in checkpoint.random
    content = io.BytesIO()
    np.savez(
        content,
        positions=state.positions,
        velocities=state.velocities,
        cell=state.cell,
        bath_energy=state.bath_energies if several else state.bath_energy,
        numbers=json.dumps(numbers),
    )
    write_atomically(path, content.getvalue())
