"""Differences between a re-opened export and the potential that it was made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlff_core.errors import MlffError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.difference import Difference, differences, largest
from mlff_core.tolerance import Tolerance


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
        The same, each difference over :func:`~mlff_core.structures.difference.stress_scale`.
    charges
        e, relative to the larger of 1 e and the largest charge of the structure; None if one of the two gives none.
    """

    energy: float
    forces: float
    forces_relative: float
    stress: float | None
    stress_scaled: float = 0.0
    charges: float | None = None

    def require(self, what: str, tolerance: Tolerance | None = None) -> None:
        """Refuse a file whose numbers differ from those of its model.

        Raises
        ------
        MlffError
            A difference is larger than the tolerance allows; the message names all of them.
        """
        limit = Tolerance() if tolerance is None else tolerance
        is_within = (
            self.energy <= limit.energy
            and self.forces_relative <= limit.forces
            and self.stress_scaled <= limit.stress
            and (self.charges is None or self.charges <= limit.of_charges)
        )
        if not is_within or math.isnan(self.forces):
            raise MlffError(
                f"{what} does not agree with its model: energy off by {self.energy:.2e} eV/atom, forces by "
                f"{self.forces:.2e} eV/Å ({self.forces_relative:.1e} relative), stress by {self.stress} eV/Å³, "
                f"charges by {self.charges} e; it was not kept"
            )


def agreement(original: Potential, other: Potential, batches: Sequence[AtomicBatch]) -> Agreement:
    """Return the largest differences between two potentials over some batches."""
    found: dict[str, list[Difference]] = {"energy": [], "forces": [], "stress": [], "charges": []}
    both = original.supports & other.supports
    for batch in batches:
        want = {"energy", "forces"} | ({"charges"} & both)
        if bool(batch.pbc.all()):
            want |= {"stress"} & both
        predictions = other.predict(batch, want=want), original.predict(batch, want=want)
        for difference in differences(*predictions, batch):
            if difference.quantity in found:
                found[difference.quantity].append(difference)
    stress = [difference.largest for difference in found["stress"]]
    return Agreement(
        energy=largest(difference.largest for difference in found["energy"]),
        forces=largest(difference.largest for difference in found["forces"]),
        forces_relative=largest(difference.scaled for difference in found["forces"]),
        stress=largest(stress) if stress else None,
        stress_scaled=largest(difference.scaled for difference in found["stress"]),
        charges=largest(difference.scaled for difference in found["charges"]) if found["charges"] else None,
    )
