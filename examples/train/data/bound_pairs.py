"""Bound pairs of small molecules: ``python bound_pairs.py MODEL LIST.smi OUT.extxyz --pairs COUNT``.

Two molecules of the list, half of the time two that can both donate a hydrogen bond, are placed together at random and
relaxed with a student, many pairs at once. With ``--tries`` this is repeated for two molecules; the pair with the
lowest energy and one other are kept, since random placement seldom finds two hydrogen bonds at once. The relaxed pair
is written together with the same pair pushed apart or together along the line between the molecules, so that energies
around the bound geometry are learned. ``--apart`` names a file for the two molecules without interaction, the reference
of the binding energy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import Atoms

import mlff_core
from mlff_core.data.sampling.conformers import conformers
from mlff_core.data.sampling.dimer import beside
from mlff_core.data.structure import LabelledStructure, batch_from_structures
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch, split

TOGETHER = 50
"""Number of pairs relaxed in one batch."""

STEPS = 200
RATE = 0.008
"""Å²/eV, the inverse curvature of a stiff bond: a step is a gradient step with Nesterov's momentum."""

LONGEST = 0.08
"""Å, the longest step of an atom."""

MOST_ATOMS = 40

OUT_OF_REACH = 30.0
"""Å; at this distance the interaction of dipoles in the teacher is below 0.1 meV per atom."""


def relaxed(potential: Potential, batch: AtomicBatch) -> tuple[AtomicBatch, torch.Tensor]:
    """Return all pairs of a batch near their minima and their energies there, shape (n_systems,), eV.

    Accelerated gradient descent is used, with a restart when the energy rises.
    """
    driven = VerletPotential(potential)
    at = batch.positions.double()
    before, age = at.clone(), torch.zeros(batch.n_systems)
    last = torch.full((batch.n_systems,), torch.inf, dtype=torch.float64)
    for _ in range(STEPS):
        ahead = at + (age / (age + 3.0))[batch.system_idx, None] * (at - before)
        found = driven.predict(batch.with_positions(ahead.to(batch.dtype)))
        assert found.forces is not None
        step = RATE * found.forces.double()
        step *= (LONGEST / step.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)
        before, at = at, ahead + step
        age = torch.where(found.energy > last, 0.0, age + 1.0)
        last = found.energy
    return batch.with_positions(at.to(batch.dtype)), last


def kept(energies: np.ndarray, tries: int, rng: np.random.Generator) -> list[int]:
    """Return the pairs to keep: of every ``tries`` in a row the lowest in energy and one of the others."""
    chosen = []
    for first in range(0, len(energies), tries):
        order = first + np.argsort(energies[first : first + tries])
        chosen.append(int(order[0]))
        if tries > 1:
            chosen.append(int(rng.choice(order[1:])))
    return chosen


def shifted(pair: AtomicBatch, n_first: int, away: float) -> AtomicBatch:
    """Return a pair with its second molecule moved by ``away`` Å along the line between both centres."""
    positions = pair.positions.clone()
    line = positions[n_first:].mean(dim=0) - positions[:n_first].mean(dim=0)
    positions[n_first:] += away * line / line.norm()
    return pair.with_positions(positions)


def as_atoms(pair: AtomicBatch) -> Atoms:
    """Return a pair with its charge, its molecules and their charges, which a teacher of molecules is given."""
    assert pair.fragment is not None
    assert pair.fragment_charge is not None
    atoms = Atoms(pair.atomic_numbers, pair.positions)
    atoms.info["charge"] = 0 if pair.charge is None else int(pair.charge)
    atoms.set_array("fragment", pair.fragment.numpy())
    atoms.set_array("fragment_charge", pair.fragment_charge.numpy())
    return atoms


def conformer(smiles: str, seed: int) -> list[LabelledStructure]:
    """Return the structure of a molecule, or nothing if MMFF94 has no parameters for it."""
    try:
        return conformers(smiles, 1, seed)
    except InputError as error:
        print(f"left out: {error}")
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("list", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--apart", type=Path)
    parser.add_argument("--tries", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    potential = mlff_core.load(asked.model)
    lines = [line.split()[0] for line in asked.list.read_text().splitlines() if line.strip()]
    molecules = [molecule for smiles in lines for molecule in conformer(smiles, asked.seed)]
    giving = [molecule for molecule in molecules if gives_hydrogen_bond(molecule)]
    print(f"{len(molecules)} molecules, {len(giving)} of them donate hydrogen bonds", flush=True)
    frames, apart = [], []
    while len(frames) < 3 * asked.pairs:
        pairs, firsts = [], []
        while len(pairs) < TOGETHER:
            pool = giving if rng.random() < 0.5 else molecules
            first, second = (pool[k] for k in rng.integers(len(pool), size=2))
            if first.n_atoms + second.n_atoms <= MOST_ATOMS:
                pairs.extend(beside(first, second, rng.uniform(1.6, 2.6), rng) for _ in range(asked.tries))
                firsts.extend([first.n_atoms] * asked.tries)
        batch, energies = relaxed(potential, batch_from_structures(pairs, dtype=potential.dtype))
        found = list(zip(split(batch), firsts, strict=True))
        for pair, n_first in (found[k] for k in kept(energies.numpy(), asked.tries, rng)):
            shifts = (0.0, rng.uniform(-0.3, 0.4), rng.uniform(0.4, 3.0))
            frames.extend(as_atoms(shifted(pair, n_first, away)) for away in shifts)
            apart.append(as_atoms(shifted(pair, n_first, OUT_OF_REACH)))
        print(f"{len(frames) // 3} of {asked.pairs} pairs", flush=True)
    ase.io.write(asked.out, frames)
    if asked.apart:
        ase.io.write(asked.apart, apart)


def gives_hydrogen_bond(molecule: LabelledStructure) -> bool:
    """Return whether a hydrogen is bonded to nitrogen or oxygen."""
    numbers = molecule.atomic_numbers
    hydrogens, heavy = (molecule.positions[mask] for mask in (numbers == 1, np.isin(numbers, (7, 8))))
    return bool((np.linalg.norm(hydrogens[:, None] - heavy[None], axis=2) < 1.2).any())


if __name__ == "__main__":
    main()
