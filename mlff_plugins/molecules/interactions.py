"""The interaction energy of two molecules, with their fragments as they are in the complex and relaxed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlff_core.dynamics.batched_relaxation import relax_many
from mlff_core.errors import InputError
from mlff_core.potentials.frames import predict_frames
from mlff_core.potentials.interface import Potential
from mlff_core.structures.electrons import electronic_state
from mlff_core.structures.fragments import find_fragments
from mlff_core.structures.reading import batch_from_atoms

if TYPE_CHECKING:
    from ase import Atoms

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Interaction:
    """Energies of a complex of two molecules and of its fragments, eV."""

    complex: Atoms
    """The complex whose energies these are."""
    members: list[Indices]
    """Atoms of each of the two molecules."""
    charges: list[int]
    """Total charge of each, e."""
    energy: float
    """Of the complex."""
    fragments: list[float]
    """Of each molecule as it is in the complex."""
    relaxed_fragments: list[float]
    """Of each molecule relaxed alone."""
    closest: float
    """Shortest distance between atoms of the two molecules, Å."""

    @property
    def interaction(self) -> float:
        """Energy of the complex above that of its fragments as they are in it, eV; negative if they attract."""
        return self.energy - sum(self.fragments)

    @property
    def deformations(self) -> list[float]:
        """Energy of each molecule in the complex above its relaxed energy, eV."""
        return [held - free for held, free in zip(self.fragments, self.relaxed_fragments, strict=True)]

    @property
    def binding(self) -> float:
        """Energy of the complex above that of its fragments relaxed alone, eV: interaction and deformations."""
        return self.energy - sum(self.relaxed_fragments)


def interaction(
    potential: Potential,
    atoms: Atoms,
    *,
    charges: Sequence[int] | None = None,
    as_is: bool = False,
    fmax: float = 0.005,
    max_steps: int = 2000,
) -> Interaction:
    """Return the interaction energy of the two molecules of a complex.

    Parameters
    ----------
    potential
        Gives energies and forces.
    atoms
        The complex.
    charges
        Total charge of each molecule, in the order of their first atoms, e; None if both are neutral.
    as_is
        Take the complex as it is instead of relaxing it. The fragments are relaxed in any case.
    fmax, max_steps
        See :func:`~mlff_core.dynamics.batched_relaxation.relax_many`.

    Raises
    ------
    InputError
        The structure does not consist of two molecules, their charges are not known, or a relaxation does not converge.
    UnsupportedError
        The potential does not support an element or a charge.
    """
    members = two_molecules(atoms)
    total = electronic_state(atoms).charge or 0
    if charges is None and total:
        raise InputError(
            f"the complex has the charge {total:+d}, and those of its two molecules are not known; give them with "
            "--charges, as --charges 1,0"
        )
    charges = list(charges or (0, 0))
    if sum(charges) != total:
        raise InputError(
            f"the charges {charges[0]:+d} and {charges[1]:+d} do not add up to that of the complex, {total:+d}"
        )
    if as_is:
        (row,) = predict_frames(potential, [atoms], want=("energy",))
        whole, energy = atoms.copy(), float(row["energy"])
    else:
        (done,) = relax_many(potential, [atoms], fmax=fmax, max_steps=max_steps)
        _require_converged(done.converged, "complex", max_steps)
        whole, energy = done.atoms, done.energy
        if [list(own) for own in two_molecules(whole)] != [list(own) for own in members]:
            raise InputError(
                "the two molecules exchanged atoms as the complex relaxed; use --as-is, or another geometry"
            )
    parts = [fragment(whole, own, charge) for own, charge in zip(members, charges, strict=True)]
    held = [float(row["energy"]) for row in predict_frames(potential, parts, want=("energy",))]
    free = relax_many(potential, parts, fmax=fmax, max_steps=max_steps)
    _require_converged(all(one.converged for one in free), "fragments", max_steps)
    between = np.linalg.norm(whole.positions[members[0]][:, None] - whole.positions[members[1]][None], axis=2)
    return Interaction(whole, members, charges, energy, held, [one.energy for one in free], float(between.min()))


def two_molecules(atoms: Atoms) -> list[Indices]:
    """Return the atoms of the two molecules of a structure.

    Raises
    ------
    InputError
        There are more or fewer.
    """
    found = sorted(find_fragments(batch_from_atoms(atoms)).atoms, key=lambda own: int(own[0]))
    if len(found) != 2:
        formulas = ", ".join(atoms[own].get_chemical_formula() for own in found[:6])
        raise InputError(
            f"two molecules are wanted, and the structure has {len(found)} ({formulas}{' …' * (len(found) > 6)}); "
            "molecules are atoms joined by bonds, found by distance"
        )
    return found


def fragment(atoms: Atoms, own: Indices, charge: int) -> Atoms:
    """Return some atoms of a structure as a molecule with its own charge, e."""
    from ase import Atoms

    return Atoms(atoms.numbers[own], atoms.positions[own], info={"charge": charge} if charge else {})


def charges_of_smiles(smiles: str | Path, members: Sequence[Indices]) -> list[int]:
    """Return the formal charge of each molecule of a SMILES, e, by its atoms in the structure made of it."""
    from mlff_core.structures.smiles import parse, rdkit

    formal = np.array([atom.GetFormalCharge() for atom in rdkit().AddHs(parse(str(smiles))).GetAtoms()])
    return [int(formal[own].sum()) for own in members]


def _require_converged(converged: bool, what: str, max_steps: int) -> None:
    if not converged:
        raise InputError(f"the relaxation of the {what} did not converge in {max_steps} steps; raise --max-steps")
