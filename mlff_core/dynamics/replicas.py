"""Many structures run at once in one batch: copies with different velocities, or different structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from mlff_core.dynamics.driver import Run, RunSpan, drive, record_of, summarise
from mlff_core.dynamics.files import COLUMNS, LOG, RunFolder
from mlff_core.dynamics.settings import MDSettings
from mlff_core.dynamics.state import Array
from mlff_core.dynamics.surface import DeviceSurface
from mlff_core.dynamics.system import System
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import concatenate

if TYPE_CHECKING:
    from ase import Atoms

REPLICA_COLUMNS = (COLUMNS[0], "replica", *COLUMNS[1:])


@dataclass(frozen=True)
class ReplicasReport(RunSpan):
    """Results of a run of many structures."""

    temperatures_kelvin: tuple[float, ...]
    """Mean temperature of each structure over the rows of the log in the second half of the whole run, kelvin."""
    conserved_drifts: tuple[float, ...]
    """Change of each structure's conserved energy from the first row of the log to the last, eV."""


def run_replicas(
    potential: Potential,
    frames: Sequence[Atoms],
    settings: MDSettings,
    folder: str | Path,
    *,
    restart: bool = False,
    model_sha256: str = "",
    inner: Potential | None = None,
    inner_sha256: str = "",
    on_step: Callable[[int], None] | None = None,
) -> ReplicasReport:
    """Run molecular dynamics of all structures at once and return the results.

    Structure k runs as :func:`~mlff_core.dynamics.simulation.run_md` would run it with the seed ``settings.seed + k``;
    they do not interact. The files are those of ``run_md``, with a column ``replica`` in the log and, in the
    trajectory, a frame of each at ``frame_every`` steps, ``info["replica"]`` being k; ``restart=True`` continues
    exactly.

    Parameters
    ----------
    potential
        Gives the forces.
    frames
        Starting structures; ``[atoms] * 64`` for copies.
    settings
        Ensemble (``"nve"`` or ``"nvt"``), length, intervals.
    folder, restart, model_sha256, inner, inner_sha256
        See :func:`~mlff_core.dynamics.simulation.run_md`.
    on_step
        Called with the number of steps done after every step, and with the first one.

    Raises
    ------
    InputError
        A structure or the settings cannot be used, the folder is in use, or one structure became unphysical, which
        stops the whole run. The last good step is then in trajectory and restart file.
    UnsupportedError
        ``"npt"``, an inner potential on another device, or an element, charge or property that a potential does not
        have.
    CheckpointError
        The files of the run to be continued are damaged.
    """
    if not frames:
        raise InputError("at least one structure is needed to run, got none")
    if settings.ensemble == "npt":
        raise UnsupportedError("many structures at once can run in nve or nvt, not in npt; run them one by one")
    systems = [System(potential, atoms, replace(settings, seed=settings.seed + k)) for k, atoms in enumerate(frames)]
    run = _ReplicasRun(potential, systems, settings, inner)
    files = RunFolder(Path(folder), settings.trajectory, REPLICA_COLUMNS)
    record = record_of(potential, model_sha256, systems, settings, single=False, inner=inner, inner_sha256=inner_sha256)
    first_step, last_step = drive(
        run, files, record, restart=restart, on_step=None if on_step is None else lambda state: on_step(state.step)
    )
    temperatures, drifts = summarise(files.folder / LOG, len(frames))
    return ReplicasReport(files.folder, first_step, last_step, temperatures, drifts)


class _ReplicasRun(Run[Tensor]):
    """All structures in one batch, on the potential's device."""

    remark = "Atoms are numbered through all structures. "

    def __init__(
        self, potential: Potential, systems: Sequence[System], settings: MDSettings, inner: Potential | None
    ) -> None:
        if inner is not None and inner.device != potential.device:
            raise UnsupportedError(
                f"many structures at once need both potentials on one device, got {potential.device} and "
                f"{inner.device}; give the same device, or run them one by one"
            )
        mobile = None
        if any(system.mobile is not None for system in systems):
            mobile = np.concatenate(
                [np.ones((len(s.atoms), 1), dtype=bool) if s.mobile is None else s.mobile for s in systems]
            )
        batch = concatenate([system.batch for system in systems])
        inside = None if inner is None else DeviceSurface(inner, batch, mobile)
        super().__init__(systems, settings, DeviceSurface(potential, batch, mobile), inside)

    def _cells(self, cells: Sequence[Array]) -> Array:
        """Return the cells in the potential's precision, so that volumes and pressures use the same numbers."""
        return self.surface.batch.cell.double().cpu().numpy()

    def _random(self) -> Mapping[str, Any]:
        return {"generators": self.noise.states()}

    def _resume_random(self, random: Mapping[str, Any]) -> None:
        self.noise.resume(random["generators"])
