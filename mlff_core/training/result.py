"""The result of a call of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["finished", "time", "stopped"]


@dataclass(frozen=True)
class TrainResult:
    """Result of a call of :meth:`mlff_core.training.trainer.Trainer.fit`."""

    out: Path
    """The run's folder."""
    model: Path
    """The best model so far."""
    status: Status
    """``"finished"``; ``"time"`` or ``"stopped"`` if the run can be resumed."""
    metrics: dict[str, float]
    """Validation errors of that model, as :func:`mlff_core.training.monitor.validate` names them."""
    history: list[dict[str, float]]
    """Rows of ``log.csv``."""
    steps: int
    epochs: float
    minutes: float
    """Totals of all calls together."""
    best_step: int | None = None
    """Step of that model; None before the first validation."""
