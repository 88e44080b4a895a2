"""The log of a run: a CSV file, and optional TensorBoard events."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from mlff_core.errors import MissingDependencyError

COLUMNS = (
    "step",
    "epoch",
    "structures",
    "minutes",
    "lr",
    "gradient_norm",
    "loss",
    "loss_energy",
    "loss_forces",
    "loss_stress",
    "loss_atom_energies",
    "loss_hessian",
    "loss_charges",
    "loss_dipole",
    "val_loss",
    "val_energy_mae_mev_per_atom",
    "val_energy_rmse_mev_per_atom",
    "val_force_mae",
    "val_force_rmse",
    "val_force_r2",
    "val_stress_mae",
    "val_charge_mae",
)
"""Columns of ``log.csv``: losses of the training batch in the units of :mod:`mlff_core.training.loss`, validation
errors as :func:`mlff_core.training.monitor.validate` names them. A row has either losses or validation errors."""


class TrainingLog:
    """Rows of ``log.csv``, optionally also as TensorBoard scalars.

    Parameters
    ----------
    folder
        Folder of ``log.csv``.
    last_step
        Rows of later steps, which a killed run wrote after its last saved state, are dropped: they will be written
        again.
    tensorboard
        Whether to write events into ``folder/tensorboard``.

    Raises
    ------
    MissingDependencyError
        TensorBoard is not installed.
    """

    def __init__(self, folder: Path, last_step: int = 0, *, tensorboard: bool = False) -> None:
        self.path = folder / "log.csv"
        self.rows = [row for row in read_log(self.path) if row["step"] <= last_step] if last_step else []
        temporary = self.path.with_name(".log.csv")
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.path)
        self._events: Any = _event_writer(folder / "tensorboard", last_step) if tensorboard else None

    def add(self, row: dict[str, float]) -> None:
        """Append a row; its keys are among :data:`COLUMNS`."""
        self.rows.append(row)
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, COLUMNS, extrasaction="ignore").writerow(
                {key: f"{value:.7g}" if isinstance(value, float) else value for key, value in row.items()}
            )
        if self._events is not None:
            for key, value in row.items():
                if key != "step":
                    self._events.add_scalar(key.replace("loss_", "loss/").replace("val_", "val/"), value, row["step"])

    def close(self) -> None:
        """Flush and close the event file."""
        if self._events is not None:
            self._events.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the rows of a ``log.csv``, empty cells left out; an incomplete last line, left by a kill, is dropped."""
    if not path.exists():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8") as stream:
        for record in csv.DictReader(stream):
            if None in record or any(record[name] is None for name in COLUMNS if name in record):
                continue
            try:
                row = {key: float(text) for key, text in record.items() if text}
            except ValueError:
                continue
            if "step" in row:
                rows.append({**row, "step": int(row["step"])})
    return rows


def _event_writer(folder: Path, last_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            "log.tensorboard needs the package tensorboard: pip install 'mlff-hub[train]', or set it to false"
        ) from error
    return SummaryWriter(str(folder), purge_step=last_step + 1 if last_step else None)
