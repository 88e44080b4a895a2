"""Uncertainty of a prediction: the spread of an ensemble of potentials, scaled to its errors on held-out data."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlff_core.card import CHARGES, SPIN_MULTIPLICITIES, ModelCard
from mlff_core.errors import InputError
from mlff_core.potentials.interface import DEVIATIONS, Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, find_neighbors
from mlff_core.structures.prediction import Prediction

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Factors from the spread of an ensemble to a standard deviation.

    Parameters
    ----------
    energy, forces
        The factors; 1 leaves the spread unscaled, which is nearly always too small because members trained on the
        same data share their errors.
    """

    energy: float = 1.0
    forces: float = 1.0


class Ensemble(Potential):
    """The mean of several potentials, with their calibrated spread as standard deviation.

    Energy, forces and stress are means, so the forces are the negative gradient of the energy. ``energy_std`` and
    ``forces_std`` are the sample standard deviations of the members (n − 1 in the denominator) times the calibration.

    Parameters
    ----------
    members
        Two or more potentials of the same elements, device and precision.
    calibration
        Factors from :func:`fit_scale` on held-out data; None uses 1.

    Raises
    ------
    InputError
        There are fewer than two members, or they differ in elements, device or precision.
    """

    def __init__(self, members: Sequence[Potential], calibration: Calibration | None = None) -> None:
        if len(members) < 2:
            raise InputError(f"an ensemble needs at least two members, got {len(members)}")
        first = members[0]
        for other in members[1:]:
            for what, a, b in (
                ("elements", first.card.elements, other.card.elements),
                ("device", first.device, other.device),
                ("dtype", first.dtype, other.dtype),
            ):
                if a != b:
                    raise InputError(
                        f"members of an ensemble need the same {what}: {first.card.name} has {a}, {other.card.name} {b}"
                    )
        self.members: tuple[Potential, ...] = tuple(members)
        self.calibration = calibration or Calibration()
        self.guard = first.guard
        self.device, self.dtype = first.device, first.dtype
        shared = frozenset.intersection(*(member.supports for member in members))
        self.supports = shared | DEVIATIONS
        # One neighbour list is right for all members only if their cutoffs are equal.
        self.uses_edges = all(m.uses_edges and m.card.cutoff == first.card.cutoff for m in members)
        self.selects_edges = self.uses_edges and all(m.selects_edges for m in members)
        self.card: ModelCard = replace(
            first.card,
            name=f"{first.card.name} and {len(members) - 1} more",
            architecture=f"ensemble of {len(members)} × {first.card.architecture}",
            description="Mean of an ensemble; the spread of its members, scaled on held-out data, is its uncertainty.",
            n_parameters=sum(member.card.n_parameters for member in members),
            cutoff=max(member.card.cutoff for member in members),
            # What all members allow: the two tuples begin with the strictest value.
            charges=min((m.card.charges for m in members), key=CHARGES.index),
            spin_multiplicities=min((m.card.spin_multiplicities for m in members), key=SPIN_MULTIPLICITIES.index),
            metrics={},
        )

    def with_calibration(self, calibration: Calibration) -> Ensemble:
        """Return the same members with other factors."""
        return Ensemble(self.members, calibration)

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        if edges is None and self.uses_edges:
            edges = find_neighbors(batch, self.card.cutoff)
        asked = set(want) - DEVIATIONS
        if "forces_std" in want:
            asked.add("forces")
        found = [m.predict(batch, want=asked, edges=edges if self.uses_edges else None) for m in self.members]
        return self.combined(found, want)

    def combined(self, found: Sequence[Prediction], want: Collection[str]) -> Prediction:
        """Return the mean of the members' predictions, and their calibrated spread where it is wanted.

        Parameters
        ----------
        found
            The prediction of each member for the same structures.
        want
            As in :meth:`~mlff_core.potentials.interface.Potential.predict`; ``"forces_std"`` needs the forces of every
            member.
        """
        energies = torch.stack([one.energy for one in found])
        forces = _stacked([one.forces for one in found])
        stress = _stacked([one.stress for one in found])
        atom_energies = _stacked([one.atom_energies for one in found])
        charges, dipole = (_stacked([getattr(one, name) for one in found]) for name in ("charges", "dipole"))
        return Prediction(
            energy=energies.mean(dim=0),
            forces=None if forces is None or "forces" not in want else forces.mean(dim=0),
            stress=None if stress is None or "stress" not in want else stress.mean(dim=0),
            atom_energies=None if atom_energies is None or "atom_energies" not in want else atom_energies.mean(dim=0),
            energy_std=self.calibration.energy * energies.std(dim=0) if "energy_std" in want else None,
            forces_std=None
            if forces is None or "forces_std" not in want
            else self.calibration.forces * forces.std(dim=0),
            charges=None if charges is None else charges.mean(dim=0),
            dipole=None if dipole is None else dipole.mean(dim=0),
        )


def _stacked(tensors: list[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(present) if len(present) == len(tensors) else None


def half_width(level: float) -> float:
    """Return the half-width, in standard deviations, of the central interval with the share ``level`` of a normal.

    Examples
    --------
    >>> round(half_width(0.9), 3)
    1.645
    """
    if not 0 < level < 1:
        raise InputError(f"a level must lie between 0 and 1, got {level}")
    return NormalDist().inv_cdf(0.5 + 0.5 * level)


def fit_scale(errors: npt.ArrayLike, spreads: npt.ArrayLike, level: float = 0.9) -> float:
    """Return the factor on the spreads with which the share ``level`` of the errors lies inside its interval.

    The factor is the quantile of abs(error) / spread, corrected for the number of errors as in split conformal
    prediction (V. Vovk, A. Gammerman, G. Shafer, *Algorithmic Learning in a Random World* (2005)), divided by
    :func:`half_width`. The interval at this level therefore has the stated coverage for data like the held-out data,
    for any distribution of the errors.

    Parameters
    ----------
    errors
        Predicted minus reference values, shape (n,), any unit.
    spreads
        Uncalibrated standard deviations, shape (n,), any unit, the same as that of the errors.
    level
        Share of errors inside the interval.

    Raises
    ------
    InputError
        There are no errors, or the spread is zero for so many of them that no factor is large enough.
    """
    e, s = np.abs(np.asarray(errors, dtype=np.float64)), np.asarray(spreads, dtype=np.float64)
    if len(e) == 0 or e.shape != s.shape:
        raise InputError(f"errors and spreads must have the same shape (n,), got {e.shape} and {s.shape}")
    ratios = np.divide(e, s, out=np.full_like(e, np.inf), where=s > 0)
    ratios[(e == 0) & (s == 0)] = 0.0
    rank = min(math.ceil((len(e) + 1) * level), len(e))
    ratio = float(np.sort(ratios)[rank - 1])
    if not math.isfinite(ratio):
        raise InputError(
            "the members agree where they are wrong, so their spread cannot be scaled to their errors; use members "
            "that differ, such as in their seed or their data"
        )
    return ratio / half_width(level)


def coverage(errors: npt.ArrayLike, stds: npt.ArrayLike, levels: npt.ArrayLike) -> Array:
    """Return the share of errors inside the interval of each level, shape (n_levels,): the reliability curve.

    Parameters
    ----------
    errors
        Predicted minus reference values, shape (n,), any unit.
    stds
        Standard deviations, shape (n,), any unit, the same as that of the errors.
    levels
        Shares that should lie inside, shape (n_levels,).
    """
    e, s = np.abs(np.asarray(errors, dtype=np.float64)), np.asarray(stds, dtype=np.float64)
    return np.array([float((e <= half_width(float(level)) * s).mean()) for level in np.atleast_1d(levels)])
