"""How far a re-opened export is from the potential it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlff_core.batch import AtomicBatch
from mlff_core.errors import MlffError
from mlff_core.potential import Potential


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
    """

    energy: float
    forces: float
    forces_relative: float
    stress: float | None

    def require(self, what: str, *, energy: float = 2e-5, forces: float = 2e-5, stress: float = 1e-6) -> None:
        """Refuse a file that does not give the numbers it was made from.

        Raises
        ------
        MlffError
            A difference is larger than its tolerance (eV/atom, relative, eV/Å³); names all of them.
        """
        too_far = self.energy > energy or self.forces_relative > forces or (self.stress or 0.0) > stress
        # A comparison with NaN is false, so it is asked for by name.
        if too_far or self.energy != self.energy or self.forces != self.forces:
            raise MlffError(
                f"{what} does not agree with its model: energy off by {self.energy:.2e} eV/atom, forces by "
                f"{self.forces:.2e} eV/Å ({self.forces_relative:.1e} relative), stress by {self.stress} eV/Å³; "
                "it was not kept"
            )


def agreement(original: Potential, other: Potential, batches: Sequence[AtomicBatch]) -> Agreement:
    """Return the largest differences between two potentials over some batches."""
    energy = forces = relative = 0.0
    stress: float | None = None
    for batch in batches:
        both_give_stress = "stress" in original.supports & other.supports
        want = ["energy", "forces"]
        if both_give_stress and bool(batch.pbc.all()):
            want.append("stress")
        expected, found = original.predict(batch, want=want), other.predict(batch, want=want)
        counts = torch.bincount(batch.system_idx, minlength=batch.n_systems).to(expected.energy.device)
        energy = max(energy, float(((found.energy - expected.energy).abs() / counts).max()))
        if expected.forces is not None and found.forces is not None:
            difference = float((found.forces - expected.forces).abs().max())
            forces = max(forces, difference)
            relative = max(relative, difference / max(1.0, float(expected.forces.abs().max())))
        if expected.stress is not None and found.stress is not None:
            stress = max(stress or 0.0, float((found.stress - expected.stress).abs().max()))
    return Agreement(energy, forces, relative, stress)
