"""What a call of a training run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["finished", "time", "stopped"]


@dataclass(frozen=True)
class TrainResult:
    """What a call of :meth:`mlff_core.training.trainer.Trainer.fit` left behind.

    Parameters
    ----------
    out
        The run's folder.
    model
        The best model so far.
    status
        ``"finished"``; ``"time"`` or ``"stopped"`` where the run can be resumed.
    metrics
        Validation errors of that model, as :func:`mlff_core.training.monitor.validate` names them.
    history
        Rows of ``log.csv``.
    steps, epochs, minutes
        Done in all calls together.
    best_step
        The step of that model; None before the first validation.
    """

    out: Path
    model: Path
    status: Status
    metrics: dict[str, float]
    history: list[dict[str, float]]
    steps: int
    epochs: float
    minutes: float
    best_step: int | None = None
