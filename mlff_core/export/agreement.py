"""How far a re-opened export is from the potential it was made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlff_core.errors import MlffError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.tolerance import force_scale, stress_scale


@dataclass(frozen=True)
class Agreement:
    """Largest differences over a set of structures.

    Parameters
    ----------
    energy
        eV/atom.
    forces
        eV/Å.
    forces_relative
        Largest force difference over the larger of 1 eV/Å and the largest force of the structure.
    stress
        eV/Å³; None if no structure was periodic or one of the two gives no stress.
    stress_scaled
        The same, each difference over :func:`stress_scale`.
    """

    energy: float
    forces: float
    forces_relative: float
    stress: float | None
    stress_scaled: float = 0.0

    def require(self, what: str, *, energy: float = 2e-5, forces: float = 2e-5, stress: float = 1e-6) -> None:
        """Refuse a file that does not give the numbers it was made from.

        Raises
        ------
        MlffError
            A difference is larger than its tolerance (eV/atom, relative, eV/Å³); names all of them.
        """
        too_far = self.energy > energy or self.forces_relative > forces or self.stress_scaled > stress
        # A comparison with NaN is false, so it is asked for by name.
        if too_far or any(math.isnan(value) for value in (self.energy, self.forces, self.stress_scaled)):
            raise MlffError(
                f"{what} does not agree with its model: energy off by {self.energy:.2e} eV/atom, forces by "
                f"{self.forces:.2e} eV/Å ({self.forces_relative:.1e} relative), stress by {self.stress} eV/Å³; "
                "it was not kept"
            )


def agreement(original: Potential, other: Potential, batches: Sequence[AtomicBatch]) -> Agreement:
    """Return the largest differences between two potentials over some batches."""
    energy = forces = relative = scaled = 0.0
    stress: float | None = None
    for batch in batches:
        both_give_stress = "stress" in original.supports & other.supports
        want = ["energy", "forces"]
        if both_give_stress and bool(batch.pbc.all()):
            want.append("stress")
        expected, found = original.predict(batch, want=want), other.predict(batch, want=want)
        counts = torch.bincount(batch.system_idx, minlength=batch.n_systems).to(expected.energy.device)
        energy = _worse(energy, float(((found.energy - expected.energy).abs() / counts).max()))
        if expected.forces is not None and found.forces is not None:
            difference = float((found.forces - expected.forces).abs().max())
            forces = _worse(forces, difference)
            relative = _worse(relative, difference / force_scale(expected.forces))
        if expected.stress is not None and found.stress is not None:
            difference = float((found.stress - expected.stress).abs().max())
            stress = _worse(stress or 0.0, difference)
            scaled = _worse(scaled, difference / stress_scale(expected.stress))
    return Agreement(energy, forces, relative, stress, scaled)


def _worse(one: float, other: float) -> float:
    """Return the larger, or NaN if either is."""
    return other if math.isnan(other) or other > one else one
