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
from mlff_core.training.saturation import MARGIN
from mlff_core.training.schedule import ScheduleConfig

StepKind = Literal["auto", "double-backward", "compiled", "finite-difference", "kernel"]
"""Ways to compute the gradient of a loss; see :mod:`mlff_core.training.step`."""

MOST = {"hidden": 4096, "n_layers": 100, "n_radial": 4096, "cutoff": 100}
"""Largest sizes of a network in training, cutoff in Å: weights grow with the square of ``hidden``, edges with the cube
of the cutoff."""


@dataclass(frozen=True)
class ModelSection:
    """Settings of the student."""

    preset: str | None = None
    """``"original"`` (the default), ``"tiny"`` or ``"ultra-tiny"``."""
    elements: tuple[str, ...] = ()
    """Chemical symbols; empty takes those of the data set."""
    init_from: Path | None = None
    """A ``model.pt`` whose weights to start from (fine-tuning). The network is then the one in the file: preset,
    elements and the changes below can be left out, and it is an error if they differ from the file's."""
    reference: Literal["keep", "fit"] = "keep"
    """Reference energies of a model that is fine-tuned: ``"keep"`` them, or ``"fit"`` them to the new labels, for a
    teacher with another zero of energy. A new model is always fitted."""
    hidden: int | None = None
    n_layers: int | None = None
    n_radial: int | None = None
    cutoff: float | None = None
    radial_basis: Literal["bessel", "gaussian"] | None = None
    shared_filters: bool | None = None
    core: float | None = None
    """Changes to the preset; see :class:`~mlff_core.model.painn.PaiNNConfig`. The core of ``init_from`` alone can be
    changed, since no weight depends on it."""
    energy_margin: float = MARGIN
    """Largest energy by which the trained network's energy of an atom may leave the range of the training data, eV; see
    :data:`~mlff_core.training.saturation.MARGIN`. 0 sets no bounds. Training itself is without bounds."""

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in PRESETS:
            raise InputError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        unknown = [symbol for symbol in self.elements if symbol not in atomic_numbers or symbol == "X"]
        if unknown:
            raise InputError(f"elements must be chemical symbols such as 'C', got {unknown}")
        check_bounds(self, dict.fromkeys(MOST, 0), open_end=tuple(MOST), most=MOST)
        check_bounds(self, {"energy_margin": 0})
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
    """Settings of the training data."""

    path: Path
    """The labelled data set."""
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    """Share of the molecules to validate on and to leave out, if the file has no split. A set of a single molecule is
    split by structures."""
    split_seed: int = 0
    """Seed of this split."""
    max_structures: int | None = None
    """Largest number of training structures, drawn at random."""
    max_validation: int = 2000
    """Largest number of validation structures, drawn at random."""
    replay: Path | None = None
    """A second data set with a fixed share of each batch, independent of its size: data on which a fine-tuned model
    must stay accurate, or a few large structures beside many small ones. Labels that only one of the two has are left
    out, except stresses beside molecules, which have none."""
    replay_share: float = 0.5
    """Size of that share, as a fraction of ``batch.atoms`` and ``batch.edges``."""
    replay_weight: float = 1.0
    """Weight of its structures in the loss."""

    def __post_init__(self) -> None:
        check_bounds(
            self,
            {"test_fraction": 0, "validation_fraction": 0, "replay_share": 0, "replay_weight": 0},
            open_end=("validation_fraction", "replay_share"),
        )
        check_bounds(self, {"max_structures": 1, "max_validation": 1, "split_seed": 0})
        if not self.validation_fraction + self.test_fraction < 1:
            raise InputError(
                "validation_fraction and test_fraction must be below 1 together, to leave structures to train on, got "
                f"{self.validation_fraction} and {self.test_fraction}"
            )


@dataclass(frozen=True)
class StopSection:
    """Settings of the end of a run: the first limit reached ends it; epochs, steps or a budget are needed."""

    max_epochs: int | None = None
    max_steps: int | None = None
    """End of the run, and of the cosine of the learning rate."""
    budget_minutes: float | None = None
    """Time of the whole run, over all its calls, minutes; the cosine follows it too. The number of steps then depends
    on the machine, so such a run is not reproducible to the bit."""
    max_minutes: float | None = None
    """Longest time of one call, minutes: the state is then saved and the run can be resumed."""
    patience: int | None = None
    """Validations without improvement after which the run ends; None disables this."""

    def __post_init__(self) -> None:
        check_bounds(self, {"max_epochs": 1, "max_steps": 1, "patience": 1})
        check_bounds(self, {"max_minutes": 0, "budget_minutes": 0}, open_end=("max_minutes", "budget_minutes"))
        if self.max_epochs is None and self.max_steps is None and self.budget_minutes is None:
            raise InputError("max_epochs, max_steps or budget_minutes must be set, so that the run ends")


@dataclass(frozen=True)
class LogSection:
    """Settings of the output during training."""

    every_steps: int = 50
    """Steps between rows of ``log.csv``."""
    validate_every_steps: int | None = None
    """Steps between validations; None validates after each epoch."""
    save_every_minutes: float = 2.0
    """Time between saved states, minutes."""
    tensorboard: bool = False
    """Whether to write TensorBoard events, which needs the package tensorboard."""

    def __post_init__(self) -> None:
        check_bounds(self, {"every_steps": 1, "validate_every_steps": 1, "save_every_minutes": 0})


@dataclass(frozen=True)
class CardSection:
    """Entries of the model's card that the run cannot fill in."""

    description: str = ""
    """A short description."""
    licence: str = ""
    """SPDX identifier of the weights' licence; empty takes the teacher's."""
    limits: tuple[str, ...] = ()
    """Known limits, one sentence each."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run."""

    data: DataSection
    """Settings of the training data."""
    out: Path = Path("run")
    """Folder for all output of the run."""
    name: str = "student"
    """Name of the model on its card."""
    seed: int = 0
    """Seed of the initial weights and of the order of the batches."""
    device: str = "auto"
    """``"auto"``, ``"cpu"``, ``"cuda"`` …"""
    precision: Literal["float32", "float64", "tf32", "bf16"] = "float32"
    """``"float32"``, ``"float64"``, ``"tf32"`` (GPU), or ``"bf16"`` (autocast if the device supports it)."""
    step: StepKind = "auto"
    """``"auto"``: ``"kernel"`` if it is available, else ``"double-backward"``, which differentiates the forces;
    ``"compiled"``, the same, traced once and compiled by torch.compile; ``"finite-difference"``; or ``"kernel"``, the
    same by the fused CPU kernel, in float32 or float64 on a CPU; see :mod:`mlff_core.training.step`."""
    model: ModelSection = field(default_factory=ModelSection)
    batch: BatchConfig = field(default_factory=BatchConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    stop: StopSection = field(default_factory=lambda: StopSection(max_epochs=10))
    log: LogSection = field(default_factory=LogSection)
    card: CardSection = field(default_factory=CardSection)
    """The sections."""

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
        if self.step in ("finite-difference", "compiled") and self.loss.learns_charges:
            raise InputError(
                "step must be auto, double-backward or kernel with loss.charges_weight, total_charge_weight or "
                f"dipole_weight, got {self.step!r}"
            )
        if self.step == "kernel" and self.precision not in ("float32", "float64"):
            raise InputError(f"precision must be float32 or float64 with step = 'kernel', got {self.precision!r}")

    def progress(self, step: int, epochs: float, minutes: float) -> float:
        """Return the fraction of the run, 0–1, that is done after the given steps, epochs and minutes."""
        done = [
            step / self.stop.max_steps if self.stop.max_steps else 0.0,
            epochs / self.stop.max_epochs if self.stop.max_epochs else 0.0,
            minutes / self.stop.budget_minutes if self.stop.budget_minutes else 0.0,
        ]
        return min(max(done), 1.0)

    def for_card(self) -> dict[str, Any]:
        """Return the settings as plain values without paths, which are meaningless on another machine."""
        plain = to_dict(self)
        del plain["out"], plain["card"]
        for section, key in (("data", "path"), ("data", "replay"), ("model", "init_from")):
            if key in plain[section]:
                plain[section][key] = Path(plain[section][key]).name
        return plain
