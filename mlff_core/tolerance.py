"""How much numbers may differ; :mod:`mlff_core.structures.difference` measures how much they differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed differences between the numbers of an engine or a file and those of ``predict``.

    Parameters
    ----------
    energy
        Energy per atom, eV/atom.
    forces
        Relative to the larger of 1 eV/Å and the largest force.
    stress
        eV/Å³ for stresses up to 0.1 eV/Å³ (16 GPa), and in proportion for larger ones, because rounding errors grow
        with them.
    charges
        Charge of an atom relative to the larger of 1 e and the largest charge; None for the number of ``energy``.
    """

    energy: float = 2e-5
    forces: float = 2e-5
    stress: float = 2e-6
    charges: float | None = None

    @property
    def of_charges(self) -> float:
        """``charges``, or the number of ``energy``."""
        return self.energy if self.charges is None else self.charges

    def scaled(self, factor: float) -> Tolerance:
        """Return a tolerance with every number multiplied by ``factor``."""
        charges = None if self.charges is None else self.charges * factor
        return Tolerance(self.energy * factor, self.forces * factor, self.stress * factor, charges)

    def looser(self, other: Tolerance) -> Tolerance:
        """Return, for each quantity, the larger of two tolerances."""
        is_own = self.charges is not None or other.charges is not None
        return Tolerance(
            max(self.energy, other.energy),
            max(self.forces, other.forces),
            max(self.stress, other.stress),
            max(self.of_charges, other.of_charges) if is_own else None,
        )
