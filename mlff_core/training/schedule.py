"""Schedule of the learning rate: warm-up, then constant, cosine, or lower at each plateau."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from mlff_core.errors import InputError


@dataclass(frozen=True)
class ScheduleConfig:
    """Settings of the schedule."""

    kind: Literal["cosine", "plateau", "constant"] = "cosine"
    """``"cosine"``: falling to ``final_factor`` along half a cosine over the whole run (I. Loshchilov, F. Hutter, ICLR
    2017, arXiv:1608.03983, without restarts). ``"plateau"``: multiplied by ``plateau_factor`` when validation has not
    improved for ``plateau_patience`` validations. ``"constant"``: neither."""
    warmup_steps: int = 100
    """Steps over which the rate rises linearly from zero."""
    final_factor: float = 0.01
    """Smallest rate, as a fraction of the full rate."""
    plateau_factor: float = 0.5
    plateau_patience: int = 5
    """See ``kind``."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise InputError(f"warmup_steps must not be negative, got {self.warmup_steps}")
        for name in ("final_factor", "plateau_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in 0–1, got {getattr(self, name)}")
        if self.plateau_patience < 1:
            raise InputError(f"plateau_patience must be at least 1, got {self.plateau_patience}")


class Schedule:
    """The factor on the learning rate at each step.

    Parameters
    ----------
    config
        Settings of the schedule.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        self._plateau = 1.0
        self._best = math.inf
        self._waited = 0

    def factor(self, step: int, progress: float) -> float:
        """Return the factor for step number ``step`` (from 0) at ``progress`` (0–1) of the whole run."""
        config = self.config
        warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
        if config.kind == "cosine":
            wave = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
            return warm * (config.final_factor + (1.0 - config.final_factor) * wave)
        return warm * self._plateau

    def validated(self, value: float) -> None:
        """Record a validation loss."""
        if self.config.kind != "plateau":
            return
        if value < self._best:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.config.plateau_patience:
            self._plateau = max(self._plateau * self.config.plateau_factor, self.config.final_factor)
            self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {"plateau": self._plateau, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a :meth:`state_dict`."""
        self._plateau, self._best, self._waited = state["plateau"], state["best"], state["waited"]
