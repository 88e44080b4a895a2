"""The result of a call of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["finished", "time", "stopped"]


@dataclass(frozen=True)
class TrainResult:
    """Result of a call of :meth:`mlff_core.training.trainer.Trainer.fit`.

    Parameters
    ----------
    out
        The run's folder.
    model
        The best model so far.
    status
        ``"finished"``; ``"time"`` or ``"stopped"`` if the run can be resumed.
    metrics
        Validation errors of that model, as :func:`mlff_core.training.monitor.validate` names them.
    history
        Rows of ``log.csv``.
    steps, epochs, minutes
        Totals of all calls together.
    """

    out: Path
    model: Path
    status: Status
    metrics: dict[str, float]
    history: list[dict[str, float]]
    steps: int
    epochs: float
    minutes: float
