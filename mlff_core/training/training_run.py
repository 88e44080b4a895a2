"""One call of a training run: from its current step to its end, its time limit, or a request to stop.

It is in one file because the order in which a run reads, steps and saves must be seen at once: resuming to the bit
depends on it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch

from mlff_core.atomic_write import make_folder
from mlff_core.config import save_config, to_dict
from mlff_core.data.loader import BatchLoader, TrainingBatch
from mlff_core.data.memory import Indices, check_rows
from mlff_core.data.reader import Dataset
from mlff_core.errors import InputError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.training.domain import MIN_STRUCTURES, sampled, write_domain
from mlff_core.training.lineage import model_card
from mlff_core.training.log import TrainingLog
from mlff_core.training.monitor import validate
from mlff_core.training.needed_labels import check_labels
from mlff_core.training.parallel import Processes
from mlff_core.training.progress import Reporter
from mlff_core.training.refusal import is_ordinary, refuse, suspect
from mlff_core.training.replay import merged
from mlff_core.training.result import Status, TrainResult
from mlff_core.training.saturation import write_saturation
from mlff_core.training.settings import TrainConfig
from mlff_core.training.start import starting_model, with_charges
from mlff_core.training.state import Learner, check_same_run, goes_on, model_of, read_state
from mlff_core.training.step import GradientStep, step_kind
from mlff_core.training.subsets import training_and_validation

MOST_LEFT_OUT = 3
"""Batches in a row with a loss that is not finite that a run leaves out before it ends."""


class Run:
    """One call of :meth:`mlff_core.training.trainer.Trainer.fit`.

    Parameters
    ----------
    config
        The settings.
    device, dtype
        Device and precision of the computation.
    group
        The processes that train together.
    reporter
        Receives the progress.
    is_stopped
        Called after each step; returns whether to end.
    resume
        See :meth:`~mlff_core.training.trainer.Trainer.fit`.

    Raises
    ------
    InputError
        Data or settings are invalid, or the folder holds another run.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        dtype: torch.dtype,
        group: Processes,
        reporter: Reporter,
        is_stopped: Callable[[], bool],
        resume: bool | None,
    ) -> None:
        self.began = self.started = time.monotonic()
        self.config, self.device, self.dtype, self.group = config, device, dtype, group
        self.reporter = reporter if group.is_first else Reporter()
        self.is_stopped = is_stopped
        self.metrics: dict[str, float] = {}
        self.best_step: int | None = None
        self.seen = 0
        self._left_out = 0
        self.loses_charges = False
        out = config.out
        state_path = out / "state.pt"
        if resume is None and state_path.exists():
            raise InputError(
                f"{out} holds a run already: --resume continues it, --fresh starts again, or give another out"
            )
        state = read_state(state_path) if resume and state_path.exists() else None
        if state is not None:
            check_same_run(state["settings"], config)
        self.dataset = Dataset(config.data.path)
        self.replayed = replay = None if config.data.replay is None else Dataset(config.data.replay)
        check_labels(config.loss, (self.dataset,) if replay is None else (self.dataset, replay))
        train, held_out = training_and_validation(self.dataset, config.data)
        if state is None:
            check_rows(self.dataset, held_out)  # the training set is read at once, these only after the first epoch
            others = () if replay is None else (replay,)
            model, parent = starting_model(config.model, self.dataset, train, config.seed, others)
            self.loses_charges = with_charges(model, config.loss.learns_charges, config.seed)
        else:
            model, parent = model_of(state), state["parent"]
        self.learner = Learner(model.to(self.device, self.dtype), parent, config)
        if state is not None:
            self.learner.restore(state)
        self.place = self.learner.place
        self.before = self.place.minutes
        self.kind, self.obstacle = step_kind(config.step, self.learner.model, config.precision)
        self.step = GradientStep(self.learner.model, config.loss, self.kind, self._autocast)
        self.loader, self.held_out, self.replay = self._loaders(train, held_out, replay)
        if state is not None and self.place.is_finished:
            self.place.is_finished = not goes_on(state, config, self._progress())
        group.barrier()  # no process reads the old state any more
        if group.is_first:
            make_folder(out)
            if state is None:
                for name in ("model.pt", "state.pt", "log.csv"):
                    (out / name).unlink(missing_ok=True)
            if not self.place.is_finished:  # otherwise the saved settings would be wrong
                save_config(out / "config.toml", config)
            self.log = TrainingLog(out, self.place.step, tensorboard=config.log.tensorboard)
        self.saved = time.monotonic()

    def _loaders(
        self, train: Indices, held_out: Indices, replay: Dataset | None
    ) -> tuple[BatchLoader, BatchLoader, BatchLoader | None]:
        """Return the batches for training, for validation and for replay."""
        config, cutoff = self.config, self.learner.model.cutoff
        shares = {"rank": self.group.rank, "world": self.group.world}
        learned = BatchLoader(self.dataset, train, cutoff, config.batch, seed=config.seed, **shares)
        validated = BatchLoader(self.dataset, held_out, cutoff, config.batch, seed=None, **shares)
        if replay is None:
            return learned, validated, None
        share = config.data.replay_share
        atoms, edges = (max(1, round(most * share)) for most in (config.batch.atoms, config.batch.edges))
        members, _ = training_and_validation(replay, config.data)
        sizes = replace(config.batch, atoms=atoms, edges=edges)
        return learned, validated, BatchLoader(replay, members, cutoff, sizes, seed=config.seed + 1, **shares)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def train(self) -> TrainResult:
        """Take steps until the run ends."""
        config = self.config
        with self.reporter:
            if self.place.step and not self.place.is_finished:
                self.reporter.message(f"resuming {self.config.out} at step {self.place.step}")
            if self.loses_charges:
                self.reporter.message(
                    f"{config.model.init_from} gives charges, which would not follow new weights, so the model will "
                    "give none; label charges and set loss.charges_weight to keep them"
                )
            if self.obstacle:
                self.reporter.message(f"a step takes several times as long as with the CPU kernel: {self.obstacle}")
            status: Status = "finished"
            if self.place.is_finished:
                self.reporter.message(
                    f"the run in {self.config.out} had ended; to go on, raise the limit in [stop] that ended it"
                )
            else:
                status = self._loop()
                self._save()
                if self.group.is_first and status != "stopped":  # a stopped run ends at once
                    loaders = [loader for loader in (self.loader, self.replay) if loader is not None]
                    sets = [(one.dataset, sampled(one.dataset, one.indices, config.seed)) for one in loaders]
                    self._bound(sets)
                    if sum(len(indices) for _, indices in sets) >= MIN_STRUCTURES:
                        write_domain(config.out / "model.pt", sets, self.device, self.dtype, config.batch)
        if self.group.is_first:
            self.log.close()
            best = [row for row in self.log.rows if "val_loss" in row]
            if best:
                row = min(best, key=lambda row: row["val_loss"])
                self.metrics = {key[4:]: value for key, value in row.items() if key.startswith("val_")}
                self.best_step = int(row["step"])
        return TrainResult(
            out=self.config.out,
            model=self.config.out / "model.pt",
            status=status,
            metrics=self.metrics,
            best_step=self.best_step,
            history=self.log.rows if self.group.is_first else [],
            steps=self.place.step,
            epochs=self._epochs(),
            minutes=self.place.minutes,
        )

    def _bound(self, sets: Sequence[tuple[Dataset, Indices]]) -> None:
        """Bound the learned energies of the model; without enough structures only where it started with bounds."""
        margin, before = self.config.model.energy_margin, self.learner.bounds
        if margin > 0 and (before is not None or sum(len(indices) for _, indices in sets) >= MIN_STRUCTURES):
            write_saturation(
                self.config.out / "model.pt",
                sets,
                margin,
                before=before,
                device=self.device,
                dtype=self.dtype,
                batch=self.config.batch,
            )

    def _loop(self) -> Status:
        place, config = self.place, self.config
        self.started = time.monotonic()
        start = self._progress()
        with contextlib.closing(self._batches()) as batches:
            for item in batches:
                values = self._take(item)
                self.seen += len(item.labels.energy) * self.group.world
                every = config.log.validate_every_steps
                ended = self._progress() >= 1.0
                if ended or (place.step % every == 0 if every else place.position == 0):
                    ended = self._validate() or ended
                if values is not None:
                    self._report(values, start)
                if ended:
                    place.is_finished = True
                    return "finished"
                if self.group.agree(self.is_stopped()):
                    return "stopped"
                if self.group.agree(self._is_out_of_time()):
                    self._ensure_model()
                    return "time"
                if time.monotonic() - self.saved > 60.0 * config.log.save_every_minutes:
                    self._save()
        raise AssertionError("the batches are endless")

    def _batches(self) -> Generator[TrainingBatch, None, None]:
        """Yield batches without end; the progress moves past a batch when the next is requested."""
        place, device, dtype = self.place, self.device, self.dtype
        own = self.loader.forever(place.epoch, place.position)
        replay = self.replay.forever(place.replay_epoch, place.replay_position) if self.replay else None
        with contextlib.ExitStack() as stack:
            for iterator in (own, replay):
                if iterator is not None:
                    stack.callback(iterator.close)
            for epoch, item in own:
                after = (epoch + 1, 0) if item.position == len(self.loader) else (epoch, item.position)
                if replay is not None and self.replay is not None:
                    replay_epoch, other = next(replay)
                    is_end = other.position == len(self.replay)
                    place.replay_epoch, place.replay_position = (
                        (replay_epoch + 1, 0) if is_end else (replay_epoch, other.position)
                    )
                    item = merged(item, other, self.config.data.replay_weight)
                place.epoch, place.position = after
                yield item.to(device, dtype)

    def _take(self, item: TrainingBatch) -> dict[str, float] | None:
        """Take one step, and return its losses, the norm of the gradient and the learning rate; None if it is left out.

        A network may fail on a rare structure at a high rate, and recover. A batch whose loss is not finite although
        its labels are ordinary changes nothing, and the run goes on; :data:`MOST_LEFT_OUT` in a row end it.
        """
        learner, place = self.learner, self.place
        factor = learner.schedule.factor(place.step, self._progress())
        learner.optimizer.zero_grad(set_to_none=True)
        terms = self.step(item, self.group.sum_weights)
        self.group.sum_gradients(learner.model)
        found = self.group.sum_weights(terms)
        values = dict(zip(found, torch.stack([term.double() for term in found.values()]).tolist(), strict=True))
        norm = learner.update(factor) if math.isfinite(values["loss"]) else math.nan
        if not math.isfinite(norm):
            worst = suspect(learner.model, item, [each for each in (self.dataset, self.replayed) if each is not None])
            if self._left_out < MOST_LEFT_OUT and not self.group.agree(not is_ordinary(item.labels)):
                self._left_out += 1
                self.reporter.message(
                    f"step {place.step}: the batch is left out, since its loss is {values['loss']:.3g}: the network "
                    f"fails on {worst or 'its structures'}; if this comes often, lower optimizer.lr"
                )
                place.step += 1
                return None
            refuse(item.labels, values, self.place.step, self.config.out, self.group.rank, worst)
        self._left_out = 0
        place.step += 1
        place.minutes = self.group.largest(self.before + (time.monotonic() - self.started) / 60.0)
        return {**values, "gradient_norm": norm, "lr": self.config.optimizer.lr * factor, "epoch": self._epochs()}

    def _validate(self) -> bool:
        """Validate the averaged weights, keep them if they are the best, and return whether patience has run out."""
        learner, place = self.learner, self.place
        metrics = self._errors()
        is_best = metrics["loss"] < place.best
        if is_best:
            place.best, place.waited = metrics["loss"], 0
        else:
            place.waited += 1
        learner.schedule.validated(metrics["loss"])
        if self.group.is_first:
            self.log.add(self._row({f"val_{key}": value for key, value in metrics.items()}))
            if is_best:
                self._save_model(metrics)
        self.reporter.validated(place.step, metrics, is_best)
        if is_best:
            self._save()  # so that state and model belong together
        patience = self.config.stop.patience
        return patience is not None and place.waited >= patience

    def _errors(self) -> dict[str, float]:
        device, dtype = self.device, self.dtype
        model = self.learner.average if self.config.optimizer.ema_decay else self.learner.model
        with contextlib.closing(self.held_out.epoch(0)) as batches:
            moved = (item.to(device, dtype) for item in batches)
            by_kernel = self.kind == "kernel"
            return validate(model, moved, self.config.loss, self.group.sum_weights, by_kernel=by_kernel)

    def _ensure_model(self) -> None:
        """Write a model file if a run is stopped before its first validation."""
        if not self.group.agree(self.group.is_first and not (self.config.out / "model.pt").exists()):
            return
        metrics = self._errors()
        if self.group.is_first:
            self._save_model(metrics)

    def _save_model(self, metrics: dict[str, float]) -> None:
        model = self.learner.average if self.config.optimizer.ema_decay else self.learner.model
        # The card records the step.
        config = replace(self.config, step=self.kind)
        sets = self.dataset, self.replayed
        card = model_card(config, model, *sets, self.learner.parent, self.place, metrics, len(self.held_out))
        save_checkpoint(config.out / "model.pt", model, card)

    def _save(self) -> None:
        if self.group.is_first:
            self.learner.save(self.config.out / "state.pt", to_dict(self.config))
        self.saved = time.monotonic()

    def _report(self, values: dict[str, float], start: float) -> None:
        if not self.group.is_first:
            return
        step, elapsed, progress = self.place.step, time.monotonic() - self.started, self._progress()
        if step % self.config.log.every_steps == 0:
            names = {"lr", "gradient_norm", "loss", "epoch"}
            self.log.add(self._row({key if key in names else f"loss_{key}": value for key, value in values.items()}))
        left = elapsed / (progress - start) * (1.0 - progress) if progress > start else math.inf
        if self.config.stop.max_minutes is not None:
            left = min(left, 60.0 * self.config.stop.max_minutes - (time.monotonic() - self.began))
        self.reporter.step(step, progress, values, self.seen / elapsed, left)

    def _row(self, values: dict[str, float]) -> dict[str, float]:
        place = self.place
        seen = place.epoch * len(self.loader) + place.position
        return {"step": place.step, "epoch": self._epochs(), "structures": seen, "minutes": place.minutes, **values}

    def _epochs(self) -> float:
        return self.place.epoch + self.place.position / len(self.loader)

    def _progress(self) -> float:
        return self.config.progress(self.place.step, self._epochs(), self.place.minutes)

    def _is_out_of_time(self) -> bool:
        limit = self.config.stop.max_minutes
        return limit is not None and time.monotonic() - self.began > 60.0 * limit
