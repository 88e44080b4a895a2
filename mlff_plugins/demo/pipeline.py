"""The steps of ``mlff demo`` for one small molecule: label, train, judge, run.

Ethanol, labelled by SO3LR. Frames come from trajectories of the teacher's MD, each with its own velocities and
temperature. Whole trajectories are held out, so that test frames are not close in time to training frames.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_core import load
from mlff_core.atomic_write import make_folder
from mlff_core.data.label import label_structures
from mlff_core.data.loader import BatchConfig
from mlff_core.data.reader import Dataset
from mlff_core.data.sampling.langevin import langevin_md
from mlff_core.data.structure import LabelledStructure
from mlff_core.data.writer import write_dataset
from mlff_core.dynamics.settings import MDSettings
from mlff_core.dynamics.simulation import MDReport, run_md
from mlff_core.dynamics.step_time import time_steps
from mlff_core.errors import InputError
from mlff_core.judging.evaluate import evaluate
from mlff_core.judging.outcome import Evaluation
from mlff_core.models.checkpoint import file_sha256
from mlff_core.plugins import host as plugins
from mlff_core.potentials.interface import Potential
from mlff_core.training.optimizer_section import OptimizerSection
from mlff_core.training.settings import CardSection, DataSection, LogSection, ModelSection, StopSection, TrainConfig
from mlff_core.training.trainer import Trainer

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.training.progress import Reporter

N_TRAJECTORIES = 20
N_HELD_OUT = 4
FRAMES_EACH = 24
STEPS_BETWEEN = 12
TEMPERATURES_KELVIN = (250.0, 650.0)
N_MD_STEPS = 2000
GOOD_R2 = 0.9


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Parameters
    ----------
    folder, dataset, model
        Paths of the folder, the data set and the model.
    n_train, n_test
        Numbers of training and test frames.
    seconds_label, seconds_train
        Wall time, s.
    evaluation
        Errors of the student on the test frames, against the teacher.
    force_spread
        Root mean square of the teacher's force components on those frames, eV/Å.
    teacher_ms_per_step, student_ms_per_step
        A whole MD step of one molecule, ms.
    md
        Summary of the student's run.
    """

    folder: Path
    dataset: Path
    model: Path
    n_train: int
    n_test: int
    seconds_label: float
    seconds_train: float
    evaluation: Evaluation
    force_spread: float
    teacher_ms_per_step: float
    student_ms_per_step: float
    md: MDReport

    @property
    def is_good(self) -> bool:
        """Whether R² of the force components on test frames is at least 0.9."""
        r2 = self.evaluation.metrics["force_r2"]
        return r2 is not None and r2 >= GOOD_R2


def check_new(folder: Path) -> None:
    """Refuse a folder that holds files.

    Raises
    ------
    InputError
        The folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; give a new folder with --out, or remove it")


def run_demo(
    folder: Path,
    *,
    say: Callable[[str], None],
    sampled: Callable[[int, int], None],
    reporter: Reporter | None = None,
) -> DemoResult:
    """Run labelling, training, judging and MD with all files in ``folder``, and return the results.

    Parameters
    ----------
    folder
        New or empty.
    say
        Called with the name of each stage.
    sampled
        Called with (finished frames, all frames) while the teacher labels.
    reporter
        Gets the progress of the training.

    Raises
    ------
    InputError
        The folder is not empty.
    MissingDependencyError
        The teacher is not installed.
    """
    folder = Path(folder)
    check_new(folder)
    source = plugins.teacher("so3lr")
    source.ensure_installed()
    make_folder(folder)

    say("Labelling: MD of ethanol with the teacher SO3LR")
    began = time.monotonic()
    teacher = source.load({"device": "cpu"})
    frames = labelled_frames(teacher, sampled)
    dataset_path = folder / "ethanol-so3lr.h5"
    created = {"command": "mlff demo", "temperatures_kelvin": TEMPERATURES_KELVIN, "steps_between": STEPS_BETWEEN}
    write_dataset(
        dataset_path, frames, teacher=dict(teacher.card.teacher), created=created, license=teacher.card.licence
    )
    seconds_label = time.monotonic() - began

    say("Training an ultra-tiny student")
    began = time.monotonic()
    trained = Trainer(training(dataset_path, folder / "training"), reporter).fit(resume=False)
    seconds_train = time.monotonic() - began
    model = folder / "model.pt"
    model.write_bytes(trained.model.read_bytes())

    say("Testing it on trajectories that were not used in training")
    student = load(model, device="cpu")
    with Dataset(dataset_path) as dataset:
        evaluation = evaluate(student, dataset, "test")
        forces = np.concatenate([dataset.structure(int(k)).forces for k in dataset.indices("test")])
        n_train, n_test = len(dataset.indices("train")), len(dataset.indices("test"))
    (folder / "validation.json").write_text(json.dumps(evaluation.to_json(), indent=2) + "\n")

    say("Running MD with it: 1 ps, NVE at about 300 K")
    # Velocities of 600 K at a minimum: half of the kinetic energy becomes potential energy.
    settings = MDSettings(ensemble="nve", n_steps=N_MD_STEPS, temperature_kelvin=600.0, log_every=20, frame_every=40)
    start = _ase(frames[0])
    report = run_md(student, start, settings, folder / "md", model_sha256=file_sha256(model))

    say("Timing whole MD steps of both")
    return DemoResult(
        folder=folder,
        dataset=dataset_path,
        model=model,
        n_train=n_train,
        n_test=n_test,
        seconds_label=seconds_label,
        seconds_train=seconds_train,
        evaluation=evaluation,
        force_spread=float(np.sqrt(np.mean(np.square(forces)))),
        teacher_ms_per_step=_ms_per_step(teacher, start),
        student_ms_per_step=_ms_per_step(student, start),
        md=report,
    )


def labelled_frames(teacher: Potential, sampled: Callable[[int, int], None]) -> list[LabelledStructure]:
    """Return frames of the teacher's MD with its labels; the last trajectories are for validation and test."""
    start = ethanol()
    rng = np.random.default_rng(0)
    starts = [start] * N_TRAJECTORIES
    total = N_TRAJECTORIES * FRAMES_EACH
    frames: list[LabelledStructure] = []
    # The first frames of each trajectory are still cold; they are kept, since a student needs minima too.
    trajectories = langevin_md(
        teacher,
        starts,
        rng,
        temperature_k=TEMPERATURES_KELVIN,
        n_frames=FRAMES_EACH,
        steps_between=STEPS_BETWEEN,
        on_frame=lambda done: sampled(done * N_TRAJECTORIES, total),
    )
    for k, trajectory in enumerate(trajectories):
        held_out = k - (N_TRAJECTORIES - N_HELD_OUT)
        split = "train" if held_out < 0 else "validation" if held_out % 2 else "test"
        frames.extend(replace(frame, split=split, smiles="CCO", molecule_id=0) for frame in trajectory)
    done = label_structures(teacher, frames)
    return [frame for frame in done.structures if frame is not None]


def ethanol() -> LabelledStructure:
    """Return trans ethanol near its minimum (ASE's G2 geometry)."""
    from ase.build import molecule

    atoms = molecule("CH3CH2OH")
    return LabelledStructure(atoms.numbers, atoms.positions, smiles="CCO", molecule_id=0)


def training(dataset: Path, out: Path) -> TrainConfig:
    """Return settings that take a minute at most."""
    return TrainConfig(
        data=DataSection(path=dataset),
        out=out,
        name="demo-ultra-tiny",
        device="cpu",
        model=ModelSection(preset="ultra-tiny"),
        batch=BatchConfig(atoms=144, edges=4096),
        optimizer=OptimizerSection(lr=5e-3, ema_decay=0.99),
        stop=StopSection(max_steps=4000, budget_minutes=1.0),
        log=LogSection(every_steps=25, validate_every_steps=200),
        card=CardSection(
            description="A demonstration: ethanol only, a minute of training at most.",
            limits=("It was trained on ethanol only, and is not valid for any other molecule.",),
        ),
    )


def _ase(structure: LabelledStructure) -> Atoms:
    from ase import Atoms

    return Atoms(structure.atomic_numbers, structure.positions)


def _ms_per_step(potential: Potential, start: Atoms) -> float:
    return time_steps(potential, [start], n_repeats=3).median_ms
