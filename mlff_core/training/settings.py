"""Every setting of a training run, as :class:`TrainConfig`; each section is a table of the TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ase.data import atomic_numbers

from mlff_core.config import to_dict
from mlff_core.data.loader import BatchConfig
from mlff_core.errors import InputError
from mlff_core.model.painn import PaiNNConfig
from mlff_core.model.presets import PRESETS, preset
from mlff_core.training.bounds import check_bounds
from mlff_core.training.loss import LossConfig
from mlff_core.training.optimizer_section import OptimizerSection
from mlff_core.training.schedule import ScheduleConfig

StepKind = Literal["auto", "double-backward", "compiled", "finite-difference", "kernel"]
"""Ways to make the gradient of a loss; see :mod:`mlff_core.training.step`."""

MOST = {"hidden": 4096, "n_layers": 100, "n_radial": 4096, "cutoff": 100}
"""Largest networks that are trained, cutoff in Å: weights grow with the square of ``hidden``, edges with the cutoff's
cube."""


@dataclass(frozen=True)
class ModelSection:
    """Which student is trained.

    Parameters
    ----------
    preset
        ``"original"`` (if nothing is said), ``"tiny"`` or ``"ultra-tiny"``.
    elements
        Chemical symbols; empty takes those of the data set.
    init_from
        A ``model.pt`` whose weights to start from (fine-tuning). The network is then the file's: preset, elements and
        the changes below need not be said, and are refused where they are others than the file's.
    reference
        Reference energies of a model that is fine-tuned: ``"keep"`` them, or ``"fit"`` them to the new labels, for a
        teacher with another zero of energy. A fresh model is always fitted.
    hidden, n_layers, n_radial, cutoff, radial_basis, shared_filters, core
        Changes to the preset; see :class:`~mlff_core.model.painn.PaiNNConfig`. The core of ``init_from`` alone can be
        changed, since no weight depends on it.
    """

    preset: str | None = None
    elements: tuple[str, ...] = ()
    init_from: Path | None = None
    reference: Literal["keep", "fit"] = "keep"
    hidden: int | None = None
    n_layers: int | None = None
    n_radial: int | None = None
    cutoff: float | None = None
    radial_basis: Literal["bessel", "gaussian"] | None = None
    shared_filters: bool | None = None
    core: float | None = None

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in PRESETS:
            raise InputError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        unknown = [symbol for symbol in self.elements if symbol not in atomic_numbers or symbol == "X"]
        if unknown:
            raise InputError(f"elements must be chemical symbols such as 'C', got {unknown}")
        check_bounds(self, dict.fromkeys(MOST, 0), open_end=tuple(MOST), most=MOST)
        self.painn((1,))

    def painn(self, elements: tuple[int, ...]) -> PaiNNConfig:
        """Return the network's configuration for these atomic numbers, or for those of ``elements`` where set."""
        if self.elements:
            elements = tuple(sorted({atomic_numbers[symbol] for symbol in self.elements}))
        base = preset(self.preset or "original", elements)
        return PaiNNConfig(**{**base.__dict__, **self.changes()})

    def changes(self) -> dict[str, Any]:
        """Return the changes to the preset, by name."""
        names = ("hidden", "n_layers", "n_radial", "cutoff", "radial_basis", "shared_filters", "core")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class DataSection:
    """What is learned from.

    Parameters
    ----------
    path
        The labelled data set.
    validation_fraction, test_fraction
        Share of the molecules to validate on and to leave out, where the file has no split of its own. A set of a
        single molecule is divided by structures.
    split_seed
        Of that division.
    max_structures
        Train on so many structures only, drawn at random.
    max_validation
        Validate on so many structures at most, drawn at random.
    replay
        A second data set, of which each batch has a share however small the set is: what a fine-tuned model must not
        forget, or a few large structures beside many small ones. Labels that only one of the two has are left
        out, but for stresses beside molecules, which have none.
    replay_share
        Size of that share, as a fraction of ``batch.atoms`` and ``batch.edges``.
    replay_weight
        Weight of its structures in the loss.
    """

    path: Path
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    max_structures: int | None = None
    max_validation: int = 2000
    replay: Path | None = None
    replay_share: float = 0.5
    replay_weight: float = 1.0

    def __post_init__(self) -> None:
        check_bounds(
            self,
            {"test_fraction": 0, "validation_fraction": 0, "replay_share": 0, "replay_weight": 0},
            open_end=("validation_fraction", "replay_share"),
        )
        check_bounds(self, {"max_structures": 1, "max_validation": 1, "split_seed": 0})
        if not self.validation_fraction + self.test_fraction < 1:
            raise InputError(
                "validation_fraction and test_fraction must leave something to train on: together below 1, got "
                f"{self.validation_fraction} and {self.test_fraction}"
            )


@dataclass(frozen=True)
class StopSection:
    """When a run ends; what comes first counts, and at least one of epochs, steps and a budget is needed.

    Parameters
    ----------
    max_epochs, max_steps
        End of the run, and of the cosine of the learning rate.
    budget_minutes
        Time of the whole run, over all its calls, minutes; the cosine follows it too. How many steps that is depends on
        the machine, so such a run is not repeated to the bit.
    max_minutes
        Longest time of one call, minutes: the state is then saved and the run can be resumed.
    patience
        Validations without improvement after which the run ends; None never ends it early.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    budget_minutes: float | None = None
    max_minutes: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        check_bounds(self, {"max_epochs": 1, "max_steps": 1, "patience": 1})
        check_bounds(self, {"max_minutes": 0, "budget_minutes": 0}, open_end=("max_minutes", "budget_minutes"))
        if self.max_epochs is None and self.max_steps is None and self.budget_minutes is None:
            raise InputError("max_epochs, max_steps or budget_minutes must be set: the run needs an end")


@dataclass(frozen=True)
class LogSection:
    """What is written while training.

    Parameters
    ----------
    every_steps
        Steps between rows of ``log.csv``.
    validate_every_steps
        Steps between validations; None validates after each epoch.
    save_every_minutes
        Time between saved states, minutes.
    tensorboard
        Write TensorBoard events, which needs the package tensorboard.
    """

    every_steps: int = 50
    validate_every_steps: int | None = None
    save_every_minutes: float = 2.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, {"every_steps": 1, "validate_every_steps": 1, "save_every_minutes": 0})


@dataclass(frozen=True)
class CardSection:
    """What the model's card says beside what the run knows by itself.

    Parameters
    ----------
    description
        A sentence for people.
    licence
        SPDX identifier of the weights' licence; empty takes the teacher's.
    limits
        Known limits, a sentence each.
    """

    description: str = ""
    licence: str = ""
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Parameters
    ----------
    data
        What is learned from.
    out
        Folder for everything the run writes.
    name
        Of the model, on its card.
    seed
        Of the weights' start and the order of the batches.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` …
    precision
        ``"float32"``, ``"float64"``, ``"tf32"`` (GPU), or ``"bf16"`` (autocast where the device has it).
    step
        ``"auto"``: ``"kernel"`` where it can be had, else ``"double-backward"``, which goes through the forces;
        ``"compiled"``, the same, traced once and compiled by torch.compile; ``"finite-difference"``; or ``"kernel"``,
        the same by the fused CPU kernel, in float32 or float64 on a CPU; see :mod:`mlff_core.training.step`.
    model, batch, loss, optimizer, schedule, stop, log, card
        See each section.
    """

    data: DataSection
    out: Path = Path("run")
    name: str = "student"
    seed: int = 0
    device: str = "auto"
    precision: Literal["float32", "float64", "tf32", "bf16"] = "float32"
    step: StepKind = "auto"
    model: ModelSection = field(default_factory=ModelSection)
    batch: BatchConfig = field(default_factory=BatchConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    stop: StopSection = field(default_factory=lambda: StopSection(max_epochs=10))
    log: LogSection = field(default_factory=LogSection)
    card: CardSection = field(default_factory=CardSection)

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("name must not be empty")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed must lie in 0–2147483647, got {self.seed}")
        if self.step == "finite-difference" and self.loss.hessian_weight > 0:
            raise InputError(
                "step must be auto, double-backward, compiled or kernel with loss.hessian_weight, got "
                "'finite-difference'"
            )
        if self.step == "kernel" and self.precision not in ("float32", "float64"):
            raise InputError(f"precision must be float32 or float64 with step = 'kernel', got {self.precision!r}")

    def progress(self, step: int, epochs: float, minutes: float) -> float:
        """Return which part of the run, 0–1, is done after so many steps, epochs and minutes."""
        done = [
            step / self.stop.max_steps if self.stop.max_steps else 0.0,
            epochs / self.stop.max_epochs if self.stop.max_epochs else 0.0,
            minutes / self.stop.budget_minutes if self.stop.budget_minutes else 0.0,
        ]
        return min(max(done), 1.0)

    def for_card(self) -> dict[str, Any]:
        """Return the settings as plain values without paths, which say nothing on another machine."""
        plain = to_dict(self)
        del plain["out"], plain["card"]
        for section, key in (("data", "path"), ("data", "replay"), ("model", "init_from")):
            if key in plain[section]:
                plain[section][key] = Path(plain[section][key]).name
        return plain
