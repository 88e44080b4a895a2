"""The card of a trained model: its origin, its validation errors, and its limits."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path

import numpy as np

from mlff_core import __version__
from mlff_core.card import CLOSED_SHELL, NONMETALS, ModelCard
from mlff_core.data.reader import Dataset
from mlff_core.model.painn import count_parameters
from mlff_core.model.student import Student
from mlff_core.training.settings import TrainConfig
from mlff_core.training.start import has_charges
from mlff_core.training.state import Place

LIMITS = (
    "Interactions beyond the reach of the message passing, such as long-range Coulomb forces, are not represented.",
)
"""Limits of every student."""


def model_card(
    config: TrainConfig,
    model: Student,
    dataset: Dataset,
    replay: Dataset | None,
    parent: str,
    place: Place,
    metrics: dict[str, float],
    n_validation: int,
) -> ModelCard:
    """Return the card of a model at the current step of a run.

    Parameters
    ----------
    config
        The run's settings.
    model
        The network to save.
    dataset, replay
        Training sets.
    parent
        SHA-256 of the model file it started from, or "".
    place
        Progress of the run.
    metrics
        Validation errors.
    n_validation
        Number of validation structures.
    """
    sets = [each for each in (dataset, replay) if each]
    closed = all(_closed_shell(each.path, each.path.stat().st_mtime_ns) for each in sets)
    charged = any(has_charges(each) for each in sets)
    training = {
        **config.for_card(),
        "done": {"steps": place.step, "epochs": place.epoch, "minutes": round(place.minutes, 2)},
        "version": __version__,
    }
    return ModelCard(
        name=config.name,
        elements=model.config.elements,
        cutoff=model.cutoff,
        architecture=model.architecture,
        description=config.card.description,
        n_parameters=count_parameters(model),
        charges="closed-shell" if charged else "neutral",
        spin_multiplicities="closed shell" if closed else "singlet",
        teacher=dataset.teacher,
        dataset=_about(dataset) if replay is None else {**_about(dataset), "replay": _about(replay)},
        training=training,
        metrics={"validation": {**metrics, "n_structures": n_validation}},
        limits=(_limit(closed, charged), *LIMITS, *config.card.limits),
        licence=config.card.licence or str(dataset.teacher.get("licence", "")),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        parent=parent,
    )


def _limit(closed: bool, charged: bool) -> str:
    if charged:
        return "Closed-shell structures only; ions are known by their atoms and bonds, not by the total charge."
    return CLOSED_SHELL if closed else "Neutral structures only."


def _about(dataset: Dataset) -> dict[str, object]:
    return {
        "name": dataset.path.name,
        "sha256": _sha256(dataset.path, dataset.path.stat().st_mtime_ns),
        "n_structures": len(dataset),
        "licence": dataset.license,
    }


@lru_cache(maxsize=4)
def _closed_shell(path: Path, changed: int) -> bool:
    """Return whether a data set has closed shells only: no metals, and an even number of electrons in every structure.

    If there are metals, or radicals that were labelled as singlets, the model must not refuse an odd number of
    electrons.
    """
    with Dataset(path) as dataset:
        if not NONMETALS.issuperset(dataset.elements):
            return False
        for start, stop in dataset.blocks():
            numbers = dataset.column("atomic_numbers", start, stop).astype(np.int64)
            firsts = dataset.offsets[start:stop] - dataset.offsets[start]
            electrons = np.add.reduceat(numbers, firsts)
            if dataset.has("charge"):
                electrons -= dataset.column("charge", start, stop)
            if (electrons % 2).any():
                return False
    return True


@lru_cache(maxsize=4)
def _sha256(path: Path, changed: int) -> str:
    """Return the hash of a data set file, read once per run; a new time of change ``changed`` reads it again."""
    return Dataset(path).sha256()
