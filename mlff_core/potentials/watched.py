"""Watch the uncertainty of a potential during a run of any engine, and warn or stop the run above a limit.

The watcher is itself a potential that wraps another, so it works in the same way in every engine.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import Literal, get_args

from torch import Tensor

from mlff_core.errors import InputError, UncertaintyError, UnsupportedError
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.wrapping import WrappedPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction

Action = Literal["warn", "stop"]


class UncertaintyWarning(UserWarning):
    """Warns that a predicted uncertainty is above the user's limit."""


class WatchedPotential(WrappedPotential):
    """A potential that compares the standard deviations of every prediction with limits.

    It returns exactly the predictions of the wrapped potential. It counts them, so each simulation needs its own
    ``WatchedPotential``.

    Parameters
    ----------
    potential
        A potential that predicts standard deviations: a committee
        (:class:`~mlff_core.potentials.ensemble.Ensemble`).
    max_forces_std
        Limit for any force component of any atom, eV/Å; None checks energies only.
    max_energy_std
        Limit for the energy of any structure, eV; None checks forces only.
    on_uncertain
        ``"stop"`` raises an error; ``"warn"`` warns at the first, tenth, hundredth … prediction above a limit.

    Attributes
    ----------
    n_predictions, n_uncertain
        Number of predictions so far, and of those above a limit.
    worst_forces_std, worst_energy_std
        Largest standard deviations so far, eV/Å and eV; 0 where they are not checked.

    Raises
    ------
    InputError
        There is no limit, a limit is not positive, or the action is unknown.
    UnsupportedError
        The potential does not predict these standard deviations.
    """

    def __init__(
        self,
        potential: Potential,
        *,
        max_forces_std: float | None = None,
        max_energy_std: float | None = None,
        on_uncertain: Action = "warn",
    ) -> None:
        if on_uncertain not in get_args(Action):
            raise InputError(f"on_uncertain must be one of {', '.join(get_args(Action))}, got {on_uncertain!r}")
        limits = {"forces_std": max_forces_std, "energy_std": max_energy_std}
        self._limits = {name: limit for name, limit in limits.items() if limit is not None}
        if not self._limits:
            raise InputError("max_forces_std or max_energy_std must be given: there is nothing to watch")
        for name, limit in self._limits.items():
            if not (math.isfinite(limit) and limit > 0):
                raise InputError(f"max_{name} must be positive, got {limit}")
            if name not in potential.supports:
                raise UnsupportedError(
                    f"{potential.card.name} gives no {name}, so it cannot be watched; "
                    "use a committee of models (`mlff committee`)"
                )
        super().__init__(potential)
        self.on_uncertain = on_uncertain
        self.n_predictions = self.n_uncertain = 0
        self.worst_forces_std = self.worst_energy_std = 0.0

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        found = super().predict_checked(batch, frozenset(want) | self._limits.keys(), edges)
        self.look(found, batch)
        return replace(
            found,
            energy_std=found.energy_std if "energy_std" in want else None,
            forces_std=found.forces_std if "forces_std" in want else None,
        )

    def look(self, prediction: Prediction, batch: AtomicBatch) -> None:
        """Compare a prediction with the limits, for a caller that has evaluated the members itself.

        Parameters
        ----------
        prediction
            A prediction with the standard deviations that have a limit.
        batch
            The structures it was made for.

        Raises
        ------
        UncertaintyError
            A standard deviation is above its limit or is NaN, and ``on_uncertain`` is ``"stop"``.
        """
        looked_at = {
            name: tensor
            for name, tensor in (("forces_std", prediction.forces_std), ("energy_std", prediction.energy_std))
            if name in self._limits and tensor is not None
        }
        largest = {name: float(tensor.max()) for name, tensor in looked_at.items()}
        self.n_predictions += 1
        self.worst_forces_std = max(self.worst_forces_std, largest.get("forces_std", 0.0))
        self.worst_energy_std = max(self.worst_energy_std, largest.get("energy_std", 0.0))
        # `not <=` so that NaN counts as above every limit.
        above = [name for name, value in largest.items() if not value <= self._limits[name]]
        if not above:
            return
        self.n_uncertain += 1
        units = {"forces_std": "eV/Å", "energy_std": "eV"}
        excess = " and ".join(
            f"{name} is {largest[name]:.3g} {units[name]}, above the limit of {self._limits[name]:g} {units[name]}"
            f"{_place(name, looked_at[name], batch)}"
            for name in above
        )
        if self.on_uncertain == "stop":
            raise UncertaintyError(
                f"{self.card.name} is not sure enough: {excess}; label such structures and train on them, or allow more"
            )
        if math.log10(self.n_uncertain).is_integer():
            warnings.warn(
                f"{self.card.name} is not sure enough: {excess} ({self.n_uncertain} of {self.n_predictions} "
                "predictions so far)",
                UncertaintyWarning,
                stacklevel=2,
            )


def _place(name: str, deviations: Tensor, batch: AtomicBatch) -> str:
    """Return the place of the largest deviation; atoms are counted through all structures, as in every message."""
    row = int(deviations.argmax()) // deviations[0].numel()
    if name == "energy_std":
        return f" (structure {row + 1} of {batch.n_systems})" if batch.n_systems > 1 else ""
    if batch.n_systems == 1:
        return f" (atom {row})"
    return f" (atom {row}, structure {int(batch.system_idx[row]) + 1} of {batch.n_systems})"
