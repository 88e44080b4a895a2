"""The state from which a run is resumed with identical results."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlff_core.config import to_dict
from mlff_core.errors import CheckpointError, InputError, first_line
from mlff_core.model.architectures import describe_config, describe_terms, make_student
from mlff_core.model.painn import PaiNN
from mlff_core.model.student import Student
from mlff_core.models.checkpoint import read_archive, write_by_rename
from mlff_core.training.loss import LossConfig
from mlff_core.training.optimizer_section import OptimizerSection
from mlff_core.training.optimizers import build_optimizer
from mlff_core.training.saturation import MARGIN
from mlff_core.training.schedule import Schedule
from mlff_core.training.settings import TrainConfig

FORMAT = "mlff-training-state"
FORMAT_VERSION = 1


@dataclass
class Place:
    """Progress of a run; saved between steps only."""

    step: int = 0
    """Number of steps done."""
    epoch: int = 0
    position: int = 0
    """Epochs done, and structures of the current epoch done."""
    replay_epoch: int = 0
    replay_position: int = 0
    """The same of the replay set."""
    best: float = math.inf
    waited: int = 0
    """Best validation loss, and validations since."""
    minutes: float = 0.0
    """Time spent so far, in all calls together."""
    is_finished: bool = False
    """Whether the run has finished."""


class Learner:
    """A network with its optimizer, moving average and schedule, and the progress of the run.

    Parameters
    ----------
    model
        The network, on its device and in its precision.
    parent
        SHA-256 of the model file it started from, or "".
    config
        The run's settings.

    Attributes
    ----------
    bounds
        Bounds of the learned energies that the network started with, or None. Training is without them, since nothing
        is learned at a bound.
    """

    def __init__(self, model: Student, parent: str, config: TrainConfig) -> None:
        self.model = model
        self.parent = parent
        self.bounds = model.saturation
        model.saturation = None
        section = config.optimizer
        self.parameters: list[Tensor] = list(model.parameters())
        self.optimizer = build_optimizer(section, model)
        self.schedule = Schedule(config.schedule)
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.place = Place()
        self._section: OptimizerSection = section

    def update(self, factor: float) -> float:
        """Update the weights by their gradients, and return the gradient's 2-norm before clipping.

        Nothing is changed if the norm is not finite.

        Parameters
        ----------
        factor
            Factor on the learning rate.
        """
        limit = self._section.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))
        if not math.isfinite(norm):
            return norm
        for group in self.optimizer.param_groups:
            group["lr"] = self._section.lr * factor
        self.optimizer.step()
        step = self.place.step
        decay = min(self._section.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), self.parameters, 1.0 - decay)
        return norm

    def save(self, path: Path, settings: dict[str, Any]) -> None:
        """Write the state by rename, with the settings it belongs to."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "settings": settings,
            "painn": describe_config(self.model),
            "parent": self.parent,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "place": asdict(self.place),
        }
        if self.model.architecture != PaiNN.architecture:
            content["architecture"] = self.model.architecture
        if terms := describe_terms(self.model):
            content["terms"] = terms
        if self.bounds is not None:
            content["bounds"] = self.bounds.state_dict(prefix="saturation.")
        write_by_rename(path, content)

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that :func:`read_state` returned."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.place = Place(**state["place"])


def read_state(path: Path) -> dict[str, Any]:
    """Return a saved state, on the CPU.

    Raises
    ------
    CheckpointError
        The file is damaged, of another kind, or newer than this version reads.
    """
    try:
        state = read_archive(path)
    except Exception as error:
        # torch.load raises a dozen types of errors on damaged bytes; all mean the same to the user.
        raise CheckpointError(
            f"{path} cannot be read as a training state: {first_line(error)}; start again with --fresh"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or state.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path} is not a training state that this version reads; start again with --fresh")
    return state


def model_of(state: dict[str, Any]) -> Student:
    """Return the network of a saved state, before its weights are loaded."""
    parts = {**state["model"], **state.get("bounds", {})}
    return make_student(state.get("architecture", PaiNN.architecture), state["painn"], state.get("terms"), parts)


def goes_on(state: dict[str, Any], config: TrainConfig, progress: float) -> bool:
    """Return whether a finished run continues under new settings of its end.

    Parameters
    ----------
    state
        The state saved at the end.
    config
        The new settings.
    progress
        Part of the run that is done according to the new settings, 0–1.
    """
    patience = config.stop.patience
    is_patient = patience is None or state["place"]["waited"] < patience
    return is_patient and progress < 1.0 and state["settings"].get("stop") != to_dict(config.stop)


RESUMABLE = ("data", "seed", "precision", "model", "batch", "loss", "optimizer", "schedule")
"""Settings that must be the same when a run is resumed; others may change."""


def check_same_run(old: dict[str, Any], config: TrainConfig) -> None:
    """Check that a run is resumed with the settings that determine its result.

    Raises
    ------
    InputError
        A setting of :data:`RESUMABLE` differs from those saved with the state.
    """
    current = to_dict(config)
    defaults = {
        "loss": to_dict(LossConfig()),
        "model": {"preset": "original", "energy_margin": MARGIN},
        "optimizer": to_dict(OptimizerSection()),
    }
    for section in RESUMABLE:
        before, now = old.get(section), current.get(section)
        if section in defaults and isinstance(before, dict) and isinstance(now, dict):
            # A setting added after the state was saved had its default; one that was given then may be left out now.
            before, now = {**defaults[section], **before}, {**defaults[section], **now}
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            key = next(key for key in {**before, **now} if before.get(key) != now.get(key))
            section, before, now = f"{section}.{key}", before.get(key), now.get(key)
        raise InputError(
            f"the run in {config.out} was started with {section} = {before!r}, now it is {now!r}; "
            "give the old value to resume, or start again with --fresh or another out"
        )
