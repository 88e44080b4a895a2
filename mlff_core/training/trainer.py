"""Training: from a labelled data set and settings to a model file; a run can be killed and resumed.

The folder ``out`` holds ``config.toml`` (the settings in full), ``state.pt`` (to resume), ``model.pt`` (the best model
so far, by validation loss, with its card), ``log.csv``, and TensorBoard events where wanted.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from mlff_core.atomic_write import one_writer
from mlff_core.errors import InputError
from mlff_core.kernels.precision import tensor_cores
from mlff_core.models.devices import resolve_device
from mlff_core.training.parallel import Processes, processes
from mlff_core.training.progress import Reporter
from mlff_core.training.result import TrainResult
from mlff_core.training.settings import TrainConfig
from mlff_core.training.training_run import Run

__all__ = ["TrainConfig", "TrainResult", "Trainer"]


class Trainer:
    """A training run.

    Parameters
    ----------
    config
        Its settings.
    reporter
        Receives the progress; by default it is not reported.

    Raises
    ------
    InputError
        The device does not exist or does not support the precision.
    """

    def __init__(self, config: TrainConfig, reporter: Reporter | None = None) -> None:
        self.config = config
        self.reporter = reporter or Reporter()
        self.device = resolve_device(config.device)
        if self.device.type == "cuda" and self.device.index is None and "LOCAL_RANK" in os.environ:
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        self.dtype = torch.float64 if config.precision == "float64" else torch.float32
        if config.precision == "tf32" and self.device.type != "cuda":
            raise InputError(f"precision must be float32, float64 or bf16 on {self.device}, got 'tf32'")
        if config.precision == "bf16" and self.device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise InputError("precision must be float32, float64 or tf32 on this GPU, which has no bf16, got 'bf16'")
        if config.step == "kernel" and self.device.type != "cpu":
            raise InputError(f"step = 'kernel' needs device = 'cpu', got {self.device}")
        self._stop = False

    def request_stop(self) -> None:
        """Make the run save its state after the current step and end; safe to call from a signal handler."""
        self._stop = True

    def fit(self, *, resume: bool | None = None) -> TrainResult:
        """Train until the end of the run or the time limit, and return the result.

        Parameters
        ----------
        resume
            True continues the run in ``out`` if there is one; False starts again; None is an error if there is one.

        Raises
        ------
        InputError
            Data or settings are invalid, ``out`` holds another run or one that another process works on, or the loss is
            not finite.
        """
        with (
            processes(self.device) as group,
            tensor_cores(self.config.precision == "tf32"),
            _alone(self.config.out, group),
        ):
            return Run(self.config, self.device, self.dtype, group, self.reporter, lambda: self._stop, resume).train()


def _alone(out: Path, group: Processes) -> contextlib.AbstractContextManager[None]:
    """Return the lock of the folder against other runs; the first of the processes that train together holds it."""
    return one_writer(out) if group.is_first else contextlib.nullcontext()
