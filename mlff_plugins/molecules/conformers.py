"""Conformers: minima of one molecule, without duplicates, ranked by energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlff_core.dynamics.batched_relaxation import relax_many
from mlff_core.dynamics.relaxation import Relaxation
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.bonds import bonded
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.structures.smiles import rdkit
from mlff_core.units import EV_PER_KELVIN, KCAL_MOL_PER_EV
from mlff_plugins.molecules.embedding import Starts

if TYPE_CHECKING:
    from ase import Atoms

MAX_MATCHES = 20_000
"""Most permutations of equivalent atoms that are compared for an RMSD."""


@dataclass(frozen=True, eq=False)
class Conformer:
    """One conformer."""

    atoms: Atoms
    """The minimum, with its energy and forces attached."""
    energy: float
    """eV."""
    relative_energy_kcal_mol: float
    """Above the lowest conformer."""
    weight: float
    """Boltzmann weight among the conformers found, from the energies alone."""
    n_found: int
    """Number of starting geometries that led to it."""


@dataclass(frozen=True, eq=False)
class ConformerSearch:
    """Result of a search."""

    conformers: list[Conformer]
    """By energy, the lowest first."""
    n_starts: int
    """Number of starting geometries."""
    n_not_converged: int
    """Those that were not relaxed to the end; they are ranked with the others."""
    n_reacted: int
    """Those whose bonds did not outlast the relaxation; they are left out."""


def search(
    potential: Potential,
    starts: Starts,
    *,
    temperature_kelvin: float = 298.15,
    rmsd: float = 0.25,
    fmax: float = 0.01,
    max_steps: int = 1000,
    on_done: Callable[[int], None] | None = None,
) -> ConformerSearch:
    """Relax the geometries of a molecule in batches, drop duplicates and rank what is left.

    Parameters
    ----------
    potential
        Gives energies and forces.
    starts
        The molecule and its geometries.
    temperature_kelvin
        Of the Boltzmann weights.
    rmsd
        Two minima closer than this are one, Å; see :func:`distance`.
    fmax, max_steps
        See :func:`~mlff_core.dynamics.batched_relaxation.relax_many`.
    on_done
        Called with the number of geometries that are relaxed.

    Raises
    ------
    InputError
        A number is invalid, or no geometry keeps its bonds.
    UnsupportedError
        The potential does not support an element or the charge.
    """
    if not temperature_kelvin > 0:
        raise InputError(f"the temperature must be positive, got {temperature_kelvin} K")
    potential.check(batch_from_atoms(starts.frames[0]))
    done = relax_many(potential, starts.frames, fmax=fmax, max_steps=max_steps, on_done=on_done)
    whole = [one for one in done if has_its_bonds(starts.molecule, one.atoms)]
    if not whole:
        raise InputError(
            f"none of {len(done)} geometries keeps the bonds of its molecule in {potential.card.name}; it may not know "
            "this chemistry (mlff models show), or the charge may be wrong"
        )
    kept, counts = _distinct(starts.molecule, sorted(whole, key=lambda one: one.energy), rmsd)
    energies = np.array([one.energy for one in kept])
    weights = boltzmann_weights(energies, temperature_kelvin)
    conformers = [
        Conformer(one.atoms, one.energy, float((one.energy - energies[0]) * KCAL_MOL_PER_EV), float(weight), count)
        for one, weight, count in zip(kept, weights, counts, strict=True)
    ]
    return ConformerSearch(
        conformers, len(done), sum(not one.converged for one in whole), n_reacted=len(done) - len(whole)
    )


def boltzmann_weights(energies: npt.NDArray[np.float64], temperature_kelvin: float) -> npt.NDArray[np.float64]:
    """Return weights that add up to 1, shape (n,), of energies of shape (n,), eV.

    Examples
    --------
    >>> boltzmann_weights(np.array([0.0, 1.0]), 300.0).round(3).tolist()
    [1.0, 0.0]
    """
    factors = np.exp(-(energies - energies.min()) / (EV_PER_KELVIN * temperature_kelvin))
    weights: npt.NDArray[np.float64] = factors / factors.sum()
    return weights


def has_its_bonds(molecule: Any, atoms: Atoms) -> bool:
    """Return whether all bonds of an RDKit molecule are bonds by distance in a structure of it."""
    near = bonded(atoms.positions, atoms.numbers)
    return all(near[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] for bond in molecule.GetBonds())


def without_hydrogens_on_carbon(molecule: Any) -> tuple[Any, list[int]]:
    """Return an RDKit molecule without the hydrogens on carbon, and the numbers of its atoms in the whole one.

    Turning a methyl group by a third changes nothing, turning a hydroxyl group does.
    """
    chem = rdkit()
    editable = chem.RWMol(molecule)
    editable.RemoveAllConformers()
    on_carbon = [
        atom.GetIdx()
        for atom in molecule.GetAtoms()
        if atom.GetAtomicNum() == 1 and [other.GetAtomicNum() for other in atom.GetNeighbors()] == [6]
    ]
    for index in reversed(on_carbon):
        editable.RemoveAtom(index)
    if editable.GetNumAtoms() < 2:  # methane
        editable = chem.RWMol(molecule)
        editable.RemoveAllConformers()
        on_carbon = []
    kept = sorted(set(range(molecule.GetNumAtoms())) - set(on_carbon))
    return editable.GetMol(), kept


def distance(skeleton: Any, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Return the least RMSD of two geometries over rotations and permutations of equivalent atoms, Å.

    Parameters
    ----------
    skeleton
        RDKit's molecule of the atoms compared, see :func:`without_hydrogens_on_carbon`.
    a, b
        Their positions, shape (n_atoms, 3), Å.
    """
    from rdkit.Chem import rdMolAlign

    return float(rdMolAlign.GetBestRMS(_placed(skeleton, a), _placed(skeleton, b), maxMatches=MAX_MATCHES))


def _placed(skeleton: Any, positions: npt.NDArray[np.float64]) -> Any:
    chem = rdkit()
    from rdkit.Geometry import Point3D

    molecule = chem.Mol(skeleton)
    conformer = chem.Conformer(len(positions))
    for k, position in enumerate(positions):
        conformer.SetAtomPosition(k, Point3D(*map(float, position)))
    molecule.AddConformer(conformer)
    return molecule


def _distinct(molecule: Any, done: Sequence[Relaxation], rmsd: float) -> tuple[list[Relaxation], list[int]]:
    """Return the minima that no lower one is a duplicate of, and how many each stands for."""
    skeleton, indices = without_hydrogens_on_carbon(molecule)
    kept: list[Relaxation] = []
    counts: list[int] = []
    for one in done:
        own = one.atoms.positions[indices]
        # The last first: duplicates have nearly the same energy.
        for k in reversed(range(len(kept))):
            if distance(skeleton, own, kept[k].atoms.positions[indices]) < rmsd:
                counts[k] += 1
                break
        else:
            kept.append(one)
            counts.append(1)
    return kept, counts
