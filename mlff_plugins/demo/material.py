"""The steps of ``mlff demo --material``: label, train and judge a student of the crystals of one element.

Crystals on several lattices, strained and heated, with vacancies, surfaces and stacking faults, labelled by SevenNet-0.
Each structure is drawn on its own, so that those held out are like the others but not near any of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core import load
from mlff_core.atomic_write import make_folder
from mlff_core.data.generate import generate
from mlff_core.data.loader import BatchConfig
from mlff_core.data.reader import Dataset
from mlff_core.data.recipe import GenerateConfig, Kinds
from mlff_core.data.sampling import STRATEGIES
from mlff_core.data.writer import write_dataset
from mlff_core.judging.crystals.experiment import Element, element
from mlff_core.judging.crystals.properties import CrystalReport, judge_crystals
from mlff_core.judging.crystals.report import to_json
from mlff_core.judging.evaluate import evaluate
from mlff_core.plugins import host as plugins
from mlff_core.training.loss import LossConfig
from mlff_core.training.optimizer_section import OptimizerSection
from mlff_core.training.settings import CardSection, DataSection, LogSection, ModelSection, StopSection, TrainConfig
from mlff_core.training.trainer import Trainer
from mlff_plugins.demo.pipeline import GOOD_R2, check_new

if TYPE_CHECKING:
    from mlff_core.judging.outcome import Evaluation
    from mlff_core.potentials.interface import Potential
    from mlff_core.training.progress import Reporter

DRAWS = {
    "minimum": None,  # the perfect crystal
    "lattice": 24,
    "thermal": 40,
    "vacancy": 12,
    "interstitial": 4,
    "surface": 20,
    "stacking_fault": 6,
}
"""Structures of each kind from each lattice."""

HELD_OUT = 0.1
"""Share of the structures for validation, and again for the test."""


@dataclass(frozen=True)
class MaterialResult:
    """Results of the demo of a material."""

    folder: Path
    n_train: int
    n_test: int
    seconds_label: float
    seconds_train: float
    seconds_judge: float
    evaluation: Evaluation
    """Errors of the student on structures that were not used in training."""
    teacher: CrystalReport
    student: CrystalReport
    """Properties of the crystal."""

    @property
    def is_good(self) -> bool:
        """Whether R² of the force components on test structures is at least 0.9."""
        r2 = self.evaluation.metrics["force_r2"]
        return r2 is not None and r2 >= GOOD_R2


def run_material(
    folder: Path,
    symbol: str,
    *,
    say: Callable[[str], None],
    sampled: Callable[[int, int], None],
    reporter: Reporter | None = None,
    teacher: Potential | None = None,
) -> MaterialResult:
    """Label, train and judge with all files in ``folder``, and return the results.

    Parameters
    ----------
    folder
        New or empty.
    symbol
        One of :data:`mlff_core.judging.crystals.experiment.ELEMENTS`.
    say
        Called with the name of each stage.
    sampled
        Called with (finished batches, all batches) while the teacher labels.
    reporter
        Gets the progress of the training.
    teacher
        Labels the structures; SevenNet-0 if None.

    Raises
    ------
    InputError
        The folder is not empty, or the element is not among the crystals.
    MissingDependencyError
        SevenNet is not installed.
    """
    crystal = element(symbol)
    folder = Path(folder)
    check_new(folder)
    if teacher is None:
        source = plugins.teacher("sevennet")
        source.ensure_installed()
        teacher = source.load({"device": "cpu"})
    make_folder(folder)

    say(f"Labelling: crystals of {symbol}, strained, heated and with defects, with the teacher {teacher.card.name}")
    began = time.monotonic()
    dataset_path = labelled(folder, crystal, teacher, sampled)
    seconds_label = time.monotonic() - began

    say("Training a tiny student")
    began = time.monotonic()
    trained = Trainer(training(dataset_path, folder / "training", symbol), reporter).fit(resume=False)
    seconds_train = time.monotonic() - began
    model = folder / "model.pt"
    model.write_bytes(trained.model.read_bytes())

    say("Judging it beside its teacher and experiment")
    began = time.monotonic()
    student = load(model, device="cpu")
    with Dataset(dataset_path) as dataset:
        evaluation = evaluate(student, dataset, "test")
        n_train, n_test = len(dataset.indices("train")), len(dataset.indices("test"))
    reports = [judge_crystals(one, [crystal])[0] for one in (student, teacher)]
    for name, content in (("validation", evaluation.to_json()), ("judge", to_json([[one] for one in reports]))):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    return MaterialResult(
        folder=folder,
        n_train=n_train,
        n_test=n_test,
        seconds_label=seconds_label,
        seconds_train=seconds_train,
        seconds_judge=time.monotonic() - began,
        evaluation=evaluation,
        teacher=reports[1],
        student=reports[0],
    )


def labelled(folder: Path, crystal: Element, teacher: Potential, sampled: Callable[[int, int], None]) -> Path:
    """Write the list of crystals and the labelled data set, and return the path of the data set."""
    starts = folder / f"{crystal.symbol}.crystals"
    starts.write_text("".join(f"{line}\n" for line in lattices(crystal)))
    made = folder / "made.h5"
    generate(starts, made, recipe(), teacher=teacher, on_progress=lambda done: sampled(done.n_done, done.n_batches))
    path = folder / f"{crystal.symbol}-{teacher.card.name}.h5"
    with Dataset(made) as dataset:
        structures = list(dataset.structures())
        shares = np.random.default_rng(0).uniform(size=len(structures))
        splits = np.where(shares < HELD_OUT, "test", np.where(shares < 2 * HELD_OUT, "validation", "train"))
        write_dataset(
            path,
            [replace(one, split=str(split)) for one, split in zip(structures, splits, strict=True)],
            teacher=dict(dataset.teacher),
            created=dict(dataset.created),
            license=teacher.card.licence,
        )
    made.unlink()
    return path


def lattices(crystal: Element) -> list[str]:
    """Return the lines of a list of crystals: the element's lattice, and for a metal two more of the same volume."""
    name, a = crystal.symbol, crystal.lattice_constant
    lines = [f"{name} {crystal.prototype} {a:.4f}"]
    if crystal.prototype == "fcc":
        nearest = a / 2**0.5
        lines += [f"{name} bcc {a / 2 ** (1 / 3):.4f}", f"{name} hcp {nearest:.4f} {nearest * (8 / 3) ** 0.5:.4f}"]
    return lines


def recipe() -> GenerateConfig:
    """Return the kinds of structures and their numbers."""
    kinds: dict[str, Any] = {kind: strategy(enabled=kind in DRAWS) for kind, strategy in STRATEGIES.items()}
    kinds |= {kind: replace(kinds[kind], n=n) for kind, n in DRAWS.items() if n is not None}
    # One crystal a batch, so that progress is seen.
    return GenerateConfig(seed=1, clash=0.6, max_force=15.0, batch_molecules=1, kinds=Kinds(**kinds))


def training(dataset: Path, out: Path, symbol: str) -> TrainConfig:
    """Return settings that take one and a half minutes at most."""
    return TrainConfig(
        data=DataSection(path=dataset),
        out=out,
        name=f"demo-{symbol}",
        device="cpu",
        model=ModelSection(preset="tiny", radial_basis="gaussian"),
        batch=BatchConfig(atoms=200, edges=20000),
        loss=LossConfig(kind="huber", energy_weight=40.0, stress_weight=1000.0, energy_delta=0.02, forces_delta=0.2),
        optimizer=OptimizerSection(kind="muon", lr=2.5e-3, weight_decay=0.05, clip=5.0, ema_decay=0.99),
        stop=StopSection(max_steps=4000, budget_minutes=1.5),
        log=LogSection(every_steps=25, validate_every_steps=500),
        card=CardSection(
            description=f"A demonstration: {symbol} only, a minute of training.",
            limits=(f"It was trained on solid {symbol} only, and is not valid for anything else.",),
        ),
    )
