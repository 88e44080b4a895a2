"""The rounds of active learning; each step writes a file, so that a killed run can continue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mlff_core.atomic_write import make_folder, one_writer, write_atomically
from mlff_core.config import load_config, save_config, to_dict
from mlff_core.data.reader import Dataset
from mlff_core.errors import InputError
from mlff_core.judging.calibrate import calibrate
from mlff_core.judging.evaluate import evaluate
from mlff_core.models.committee import write_committee
from mlff_core.models.opening import load
from mlff_core.potentials.ensemble import Ensemble
from mlff_core.potentials.interface import Potential
from mlff_core.training.progress import Reporter
from mlff_core.training.trainer import TrainConfig, Trainer
from mlff_plugins.active.frames import sample, usual_deviation
from mlff_plugins.active.sets import check_teacher, labelled, write_extended, write_start
from mlff_plugins.active.settings import ActiveConfig

UNCERTAIN, RANDOM = "uncertain", "random"
COMMITTEE, RESULT, LABELS, SETTINGS, START = "committee.toml", "result.json", "labels.h5", "active.toml", "start.h5"


@dataclass(frozen=True)
class Round:
    """Result of a round on the test set.

    Parameters
    ----------
    arm
        ``"uncertain"``, or ``"random"`` for the control; the first training belongs to both.
    number
        Number of the round; 0 is the first training.
    n_train
        Number of training structures.
    n_added
        Number of them that were labelled in this round.
    n_candidates
        Number of frames to choose from: those above the threshold, or all for the control.
    threshold
        eV/Å.
    force_mae, force_rmse
        Of the committee's mean, eV/Å.
    energy_mae_mev_per_atom
        Of the committee's mean, meV/atom.
    coverage
        Fraction of the force components inside their 90 % interval, 0–1.
    """

    arm: str
    number: int
    n_train: int
    n_added: int
    n_candidates: int
    threshold: float | None
    force_mae: float
    force_rmse: float
    energy_mae_mev_per_atom: float
    coverage: float


def run_active(
    config: ActiveConfig,
    teacher: Callable[[], Potential],
    *,
    reporter: Callable[[], Reporter] = Reporter,
    on_message: Callable[[str], None] = lambda _: None,
) -> list[Round]:
    """Run the rounds of training, sampling, labelling and training again, and return the result of each.

    A killed run continues when it is called again with the same settings.

    Parameters
    ----------
    config
        The settings.
    teacher
        Loads the teacher; called when structures must be labelled.
    reporter
        Makes the reporter of each training.
    on_message
        Called with a line of text after each step.

    Raises
    ------
    InputError
        The settings differ from those of the run in the folder, another process works in it, the teacher is not that of
        the data set, or no frame is above the threshold.
    """
    run = _Run(config, teacher, reporter, on_message)
    with one_writer(config.out):
        return _all_rounds(run, config)


def _all_rounds(run: _Run, config: ActiveConfig) -> list[Round]:
    run.begin()
    rounds = [run.judged(config.out / "round-0", config.out / START, UNCERTAIN, 0)]
    last = dict.fromkeys((UNCERTAIN, RANDOM), (config.out / "round-0", config.out / START))
    for number in range(1, config.rounds + 1):
        n_labels = config.frames
        for arm in (UNCERTAIN, RANDOM) if config.control else (UNCERTAIN,):
            folder = config.out / f"round-{number}-{arm}"
            labels = run.extended(folder, *last[arm], arm, number, n_labels)
            rounds.append(run.judged(folder, labels, arm, number))
            n_labels = rounds[-1].n_added
            last[arm] = (folder, labels)
    return rounds


class _Run:
    """The steps of a run; a step is skipped if its file exists."""

    def __init__(
        self,
        config: ActiveConfig,
        teacher: Callable[[], Potential],
        reporter: Callable[[], Reporter],
        on_message: Callable[[str], None],
    ) -> None:
        self.config, self.make_teacher, self.reporter, self.say = config, teacher, reporter, on_message
        self.training = load_config(TrainConfig, config.train)
        self.teacher: Potential | None = None

    def begin(self) -> None:
        """Write settings and initial data set, or check that they are the same as in the folder."""
        out, path = self.config.out, self.config.out / SETTINGS
        if path.exists():
            before, now = to_dict(load_config(ActiveConfig, path)), to_dict(self.config)
            differing = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
            if differing:
                raise InputError(
                    f"the run in {out} was started with other settings ({', '.join(differing)}); give those, or "
                    "another out"
                )
            self.say(f"continuing the run in {out}")
        else:
            make_folder(out)
            save_config(path, self.config)
        if not (out / START).exists():
            write_start(out / START, self.training.data)

    def judged(self, folder: Path, labels: Path, arm: str, number: int) -> Round:
        """Train the students of a round and return its result."""
        result = folder / RESULT
        if not result.exists():
            ensemble = self.trained(folder, labels)
            with Dataset(self.config.test) as test, Dataset(labels) as dataset:
                found = evaluate(ensemble, test, self.config.test_split)
                n_train = len(dataset.indices("train"))
            made = json.loads((folder / "found.json").read_text()) if number else {}
            row = Round(
                arm=arm,
                number=number,
                n_train=n_train,
                n_added=made.get("n_added", 0),
                n_candidates=made.get("n_candidates", 0),
                threshold=made.get("threshold"),
                force_mae=float(found.metrics["force_mae"] or 0.0),
                force_rmse=float(found.metrics["force_rmse"] or 0.0),
                energy_mae_mev_per_atom=float(found.metrics["energy_mae_mev_per_atom"] or 0.0),
                coverage=found.reliability["forces"]["0.9"],
            )
            write_atomically(result, (json.dumps(asdict(row), indent=2) + "\n").encode())
        row = Round(**json.loads(result.read_text()))
        self.say(
            f"round {number}, {arm}: {row.n_train} structures, force MAE {row.force_mae:.4f} eV/Å, "
            f"RMSE {row.force_rmse:.4f}"
        )
        return row

    def trained(self, folder: Path, labels: Path) -> Ensemble:
        """Return the calibrated committee of a round."""
        path = folder / COMMITTEE
        if not path.exists():
            models = []
            for k in range(self.config.members):
                settings = replace(
                    self.training,
                    # The initial data set was chosen already.
                    data=replace(self.training.data, path=labels, max_structures=None),
                    out=folder / f"student-{k}",
                    seed=self.config.seed + k,
                )
                result = Trainer(settings, self.reporter()).fit(resume=True)
                if result.status != "finished":
                    raise InputError(
                        f"the training in {result.out} was stopped before its end; give the same command to continue"
                    )
                models.append(str(result.model))
            students = [load(model, device=self.training.device, guard="off") for model in models]
            with Dataset(labels) as dataset:
                factors = calibrate(Ensemble(students), dataset, "validation").calibration
            write_committee(path, models, factors, data=labels.name, split="validation")
        committee = load(path, device=self.training.device, guard="off")
        assert isinstance(committee, Ensemble)
        return committee

    def extended(self, folder: Path, before: Path, labels: Path, arm: str, number: int, n_labels: int) -> Path:
        """Return the data set of a round: that of the round before, and the structures labelled since."""
        path, kept = folder / LABELS, folder / "labels"
        if path.exists():
            # The run may have been killed between the last two lines of this method.
            shutil.rmtree(kept, ignore_errors=True)
            return path
        make_folder(folder)
        ensemble = self.trained(before, labels)
        sampling, seed = self.config.sampling, self.config.seed
        with Dataset(labels) as dataset:
            threshold = self.config.threshold or usual_deviation(ensemble, dataset)
            n_runs = sampling.trajectories
            found = sample(
                ensemble,
                dataset,
                sampling,
                threshold,
                (seed, number),
                # In the first round both arms use the same dynamics.
                before / "md",
                lambda done: self.say(f"round {number}, {arm}: {done} of {n_runs} runs") if done == n_runs else None,
            )
            chosen = (
                np.flatnonzero(found.deviations > threshold) if arm == UNCERTAIN else np.arange(len(found.structures))
            )
            order = np.random.default_rng([seed, number, 1]).permutation(chosen)
            if len(order) == 0:
                raise InputError(
                    f"none of {len(found.structures)} frames is above {threshold:.3g} eV/Å ({found.n_ended} of "
                    f"{n_runs} runs ended early): lower the threshold, or sample longer or at a higher temperature"
                )
            if self.teacher is None:
                self.teacher = self.make_teacher()
            check_teacher(self.teacher, dataset)
            added = labelled(self.teacher, [found.structures[k] for k in order], n_labels, kept)
            made = {
                "threshold": threshold,
                "n_frames": len(found.structures),
                "n_candidates": len(order),
                "n_added": len(added),
                "n_ended": found.n_ended,
            }
            write_atomically(folder / "found.json", (json.dumps(made, indent=2) + "\n").encode())
            write_extended(path, dataset, added)
        self.say(
            f"round {number}, {arm}: {len(found.structures)} frames, {len(order)} to choose from, "
            f"{len(added)} labelled, {found.n_ended} runs ended early"
        )
        # All labelled structures are in the data set now.
        shutil.rmtree(kept)
        return path
