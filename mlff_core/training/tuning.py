"""A student for one system: sampled by a student, labelled by a teacher, fine-tuned in about a minute."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core.atomic_write import make_folder, write_atomically
from mlff_core.data.convert import structures_from_atoms
from mlff_core.data.label import label_structures
from mlff_core.data.loader import BatchConfig
from mlff_core.data.reader import Dataset
from mlff_core.data.sampling.langevin import langevin_md
from mlff_core.data.structure import LabelledStructure
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError
from mlff_core.judging.evaluate import evaluate
from mlff_core.models.checkpoint import file_sha256
from mlff_core.models.opening import load
from mlff_core.models.registry import resolve
from mlff_core.training.bounds import check_bounds
from mlff_core.training.optimizer_section import OptimizerSection
from mlff_core.training.settings import CardSection, DataSection, LogSection, ModelSection, StopSection, TrainConfig
from mlff_core.training.trainer import Trainer

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.potentials.interface import Potential
    from mlff_core.training.progress import Reporter

FRAMES_EACH = 10
STEPS_BETWEEN = 100
"""Frames of each trajectory, and steps of 0.5 fs before each: 50 fs, several periods of the bonds."""

FRAME_ATOMS = 5000
FEWEST_FRAMES, MOST_FRAMES = 40, 240
"""Atoms in all frames together if their number is not given, and the limits of the number of frames."""

HELD_OUT = 5
"""One trajectory of so many is for validation only."""

BATCH_STRUCTURES = 6
"""Structures in a batch."""

LABEL_CHUNK = 8
"""Frames labelled between two reports of progress."""

DATA, SETTINGS, TRAINING = "frames.h5", "tune.json", "training"


@dataclass(frozen=True)
class TuneSettings:
    """Settings of the tuning of a student."""

    init_from: str = "organic-ultra-tiny"
    """Name or path of the student to start from."""
    minutes: float = 1.0
    """Time of the training, minutes; sampling and labelling come before it."""
    n_frames: int | None = None
    """Number of frames to label; None takes as many as have 5,000 atoms, 40 at least and 240 at most."""
    temperatures_kelvin: tuple[float, float] = (300.0, 600.0)
    """Lowest and highest temperature of the trajectories."""
    lr: float = 1e-3
    """Learning rate at the start."""
    seed: int = 0
    """Seed of sampling and training."""

    def __post_init__(self) -> None:
        check_bounds(self, {"minutes": 0, "lr": 0, "seed": 0}, open_end=("minutes", "lr"))
        if self.n_frames is not None and self.n_frames < 2 * FRAMES_EACH:
            raise InputError(
                f"n_frames must be at least {2 * FRAMES_EACH}, to train and to validate on, got {self.n_frames}"
            )
        low, high = self.temperatures_kelvin
        if not 0 < low <= high < float("inf"):
            raise InputError(f"temperatures_kelvin must be positive and ascending, got {self.temperatures_kelvin}")


@dataclass(frozen=True)
class TuneResult:
    """Result of a tuning."""

    model: Path
    """The tuned student."""
    n_frames: int
    """Number of labelled frames."""
    force_mae_before: float
    force_mae: float
    """Mean absolute error of force components on the trajectories held out, before and after, eV/Å."""


def tune(
    teacher: Callable[[], Potential],
    starts: Sequence[Atoms],
    out: str | Path,
    settings: TuneSettings | None = None,
    *,
    teacher_name: str = "",
    on_stage: Callable[[str, int], Callable[[int], None]] = lambda _title, _total: lambda _done: None,
    reporter: Reporter | None = None,
    on_trainer: Callable[[Trainer], Any] = lambda _: None,
) -> TuneResult:
    """Make a student of a teacher for one system, and return its errors.

    Trajectories of the student that it starts from give frames, the teacher labels them, and the student is fine-tuned
    on all but those held out. ``OUT.tune`` beside the model holds frames and training; a tuning that was stopped goes
    on from there.

    Parameters
    ----------
    teacher
        Loads the teacher; called when there are frames to label.
    starts
        Structures of the system, its conformers for instance; the trajectories begin there in turn.
    out
        File of the student, ending in ``.pt``.
    settings
        Settings; the defaults if None.
    teacher_name
        Names the teacher and its options, so that a tuning is not continued with another.
    on_stage
        Called with the title and the number of items of each stage; returns a function that gets the items done.
    reporter
        Gets the progress of the training.
    on_trainer
        Called with the trainer before it begins, to be able to stop it.

    Raises
    ------
    InputError
        The folder holds a tuning with other settings or of another system, the training was stopped, the student's
        trajectories became unphysical, or the teacher could label none of the frames.
    """
    settings, out = settings or TuneSettings(), Path(out)
    if out.suffix != ".pt":
        raise InputError(f"the student's file must end in .pt, got {out}")
    folder, parent = out.with_name(out.name + ".tune"), resolve(settings.init_from)
    structures = [replace(one, molecule_id=0) for one in structures_from_atoms(starts, geometries_only=True)]
    _begin(folder, settings, structures, {"teacher": teacher_name, "init_from_sha256": file_sha256(parent)})
    data = folder / DATA
    if not data.exists():
        frames = _sampled(settings, structures, on_stage)
        _label(teacher(), frames, data, on_stage)
    config = _training(settings, data, parent, folder / TRAINING, structures, out.stem)
    trainer = Trainer(config, reporter)
    on_trainer(trainer)
    trained = trainer.fit(resume=True)
    if trained.status != "finished":
        raise InputError(f"the training in {folder} was stopped before its end; give the same command to continue")
    write_atomically(out, trained.model.read_bytes())
    errors = []
    with Dataset(data) as dataset:
        for path in (parent, out):
            found = evaluate(load(path, device="cpu", guard="off"), dataset, "validation").metrics
            errors.append(float(found["force_mae"] or 0.0))
        n_frames = len(dataset)
    return TuneResult(out, n_frames, *errors)


def _begin(
    folder: Path, settings: TuneSettings, structures: Sequence[LabelledStructure], models: dict[str, str]
) -> None:
    """Write what decides the result, or compare it with that of the tuning in the folder."""
    numbers = [int(z) for z in structures[0].atomic_numbers]
    if any(list(one.atomic_numbers) != numbers for one in structures):
        raise InputError("all structures must have the same atoms in one order; tune for each system on its own")
    low, high = settings.temperatures_kelvin
    now = {
        **models,
        "minutes": settings.minutes,
        "n_frames": settings.n_frames,
        "temperatures_kelvin": [low, high],
        "lr": settings.lr,
        "seed": settings.seed,
        "atomic_numbers": numbers,
        "positions": [one.positions.tolist() for one in structures],
    }
    path = folder / SETTINGS
    if not path.exists():
        make_folder(folder)
        write_atomically(path, (json.dumps(now) + "\n").encode())
        return
    before = json.loads(path.read_text())
    differing = [name for name in now if before.get(name) != now[name]]
    if differing:
        raise InputError(
            f"{folder} holds a tuning with other {', '.join(differing)}; give those to continue it, remove the folder, "
            "or give another file for the student"
        )


def _sampled(
    settings: TuneSettings,
    structures: Sequence[LabelledStructure],
    on_stage: Callable[[str, int], Callable[[int], None]],
) -> list[LabelledStructure]:
    """Return frames of the student's own dynamics; whole trajectories are for validation."""
    wanted = settings.n_frames
    if wanted is None:
        wanted = min(MOST_FRAMES, max(FEWEST_FRAMES, FRAME_ATOMS // structures[0].n_atoms))
    n_runs = max(2, wanted // FRAMES_EACH)
    student = load(settings.init_from, device="cpu", guard="off")
    show = on_stage("sampling", FRAMES_EACH)
    runs = langevin_md(
        student,
        [structures[k % len(structures)] for k in range(n_runs)],
        np.random.default_rng(settings.seed),
        temperature_k=settings.temperatures_kelvin,
        n_frames=FRAMES_EACH,
        steps_between=STEPS_BETWEEN,
        on_frame=show,
    )
    held_out = {n_runs - 1, *range(HELD_OUT - 1, n_runs, HELD_OUT)}
    return [
        replace(frame, split="validation" if k in held_out else "train") for k, run in enumerate(runs) for frame in run
    ]


def _label(
    teacher: Potential,
    frames: Sequence[LabelledStructure],
    path: Path,
    on_stage: Callable[[str, int], Callable[[int], None]],
) -> None:
    show = on_stage("labelling", len(frames))
    labelled: list[LabelledStructure] = []
    failures: list[str] = []
    for begin in range(0, len(frames), LABEL_CHUNK):
        done = label_structures(teacher, frames[begin : begin + LABEL_CHUNK])
        labelled += [frame for frame in done.structures if frame is not None]
        failures += done.failures.values()
        show(min(begin + LABEL_CHUNK, len(frames)))
    if {frame.split for frame in labelled} != {"train", "validation"}:
        reason = f": {failures[0]}" if failures else ""
        raise InputError(f"{teacher.card.name} labelled {len(labelled)} of {len(frames)} frames, too few{reason}")
    card = teacher.card
    write_dataset(path, labelled, teacher=dict(card.teacher), created={"command": "mlff tune"}, license=card.licence)


def _training(
    settings: TuneSettings,
    data: Path,
    parent: Path,
    out: Path,
    structures: Sequence[LabelledStructure],
    name: str,
) -> TrainConfig:
    n_atoms = structures[0].n_atoms
    return TrainConfig(
        data=DataSection(path=data),
        out=out,
        name=name,
        seed=settings.seed,
        device="cpu",
        model=ModelSection(init_from=parent, reference="fit"),
        batch=BatchConfig(atoms=max(n_atoms, min(512, BATCH_STRUCTURES * n_atoms)), edges=24_576),
        optimizer=OptimizerSection(lr=settings.lr, ema_decay=0.99),
        stop=StopSection(budget_minutes=settings.minutes),
        log=LogSection(every_steps=50, validate_every_steps=200),
        card=CardSection(
            description="Fine-tuned to one system, to run inside the teacher's dynamics.",
            limits=("It was fine-tuned to a single system and is not valid for any other.",),
        ),
    )
