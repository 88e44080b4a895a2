"""The structures of the benchmarks, by name: chain molecules, batches of them, and boxes of water."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from mlff_core.errors import InputError

SYSTEMS = (
    "ethanol-9",
    "hexanol-21",
    "pentadecylamine-49",
    "pentadecylamine-49x32",
    "water-192",
    "water-648",
    "water-1536",
)
"""Default systems: a molecule of n atoms, ``x32`` a batch of 32 of them, a periodic box of water."""

CHAINS = {"ethanol-9": (2, 8), "hexanol-21": (6, 8), "hexylamine-22": (6, 7), "pentadecylamine-49": (15, 7)}
"""Number of carbon atoms in the chain, and the atomic number of its end."""

MOST_ATOMS = 20_000_000
"""Largest number of atoms of a system, all copies together."""

WATER_VOLUME = 29.97
"""Å³ a molecule, at 0.998 g/cm³."""


def build(system: str) -> list[Atoms]:
    """Return the structures of a system by its name, such as ``"ethanol-9"``, ``"hexanol-21x32"``, ``"water-504"``.

    A number alone is the molecule with this number of atoms, or else a box of water; ``"32x49"`` is a batch of 32.

    Raises
    ------
    InputError
        No system has this name.

    Examples
    --------
    >>> [len(frame) for frame in build("hexanol-21x2")]
    [21, 21]
    >>> [frame.get_chemical_formula() for frame in build("2x22")]
    ['C6H15N', 'C6H15N']
    """
    if number := re.fullmatch(r"(?:(?P<copies>[1-9]\d*)x)?(?P<n_atoms>[1-9]\d*)", system):
        known = {name.rsplit("-", 1)[1]: name for name in CHAINS}
        one = known.get(number["n_atoms"], f"water-{number['n_atoms']}")
        return build(f"{one}x{number['copies']}" if number["copies"] else one)
    match = re.fullmatch(r"(?P<one>.+?)(x(?P<copies>[1-9]\d*))?", system)
    one, copies = (match["one"], match["copies"] or "1") if match else (system, "1")
    water = re.fullmatch(r"water-([1-9]\d*)", one)
    # Counted before anything is built; digits first, since numbers with thousands of digits are slow to read.
    digits = len(copies) + len(water[1] if water else "1")
    if digits > 2 * len(str(MOST_ATOMS)) or int(copies) * int(water[1] if water else 1) > MOST_ATOMS:
        raise InputError(f"a system may have {MOST_ATOMS:,} atoms, got {system[:60]}; time a smaller one")
    if one in CHAINS:
        frame = chain(*CHAINS[one])
    elif water and int(water[1]) % 3 == 0:
        frame = water_box(int(water[1]) // 3)
    else:
        raise InputError(
            f"no system is called {system!r}; there are {', '.join(CHAINS)}, each also as a batch such as x32, and "
            "water-N with N atoms, a multiple of 3; 49 and 32x49 are short for the molecule of 49 atoms, or water"
        )
    return [_shaken(frame, seed) for seed in range(int(copies))]


def chain(n_carbon: int, end: int) -> Atoms:
    """Return a stretched alkane whose last group is OH (``end`` 8) or NH₂ (7), with the bonds of an alkane.

    Examples
    --------
    >>> chain(2, 8).get_chemical_formula()
    'C2H6O'
    """
    heavy = [6] * n_carbon + [end]
    length, half = 1.52, np.deg2rad(111.5) / 2
    sites = np.array([[k * length * np.sin(half), (k % 2) * length * np.cos(half), 0.0] for k in range(len(heavy))])
    numbers, positions = list(heavy), list(sites)
    for k, number in enumerate(heavy):
        up = 1.0 if k % 2 else -1.0
        outward = np.array([0.0, up * np.cos(half), np.sin(half)])
        directions = [outward, outward * [1, 1, -1]]
        # At the ends of the chain a hydrogen replaces the next link.
        link = np.array([np.sin(half), -up * np.cos(half), 0.0])
        if k == 0:
            directions.append(link * [-1, 1, 1])
        if k == len(heavy) - 1:
            directions = [link, *directions][: {8: 1, 7: 2}[end]]
        bond = float(covalent_radii[number] + covalent_radii[1])
        numbers += [1] * len(directions)
        positions += [sites[k] + bond * direction for direction in directions]
    return Atoms(numbers=numbers, positions=positions)


def water_box(n_molecules: int) -> Atoms:
    """Return a periodic cube of water molecules at the density of the liquid, on a lattice with small random rotations.

    Examples
    --------
    >>> len(water_box(64)), water_box(64).cell.lengths().round(2).tolist()
    (192, [12.43, 12.43, 12.43])
    """
    from scipy.spatial.transform import Rotation

    side = (n_molecules * WATER_VOLUME) ** (1 / 3)
    per_side = int(np.ceil(round(n_molecules ** (1 / 3), 6)))
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    # If the number is not a cube, the empty sites are spread over the box.
    sites = grid[np.linspace(0, len(grid) - 1, n_molecules).round().astype(int)] * (side / per_side)
    angle = np.deg2rad(104.5)
    molecule = np.array([[0, 0, 0], [0.96, 0, 0], [0.96 * np.cos(angle), 0.96 * np.sin(angle), 0]])
    turns = Rotation.from_rotvec(np.random.default_rng(0).normal(scale=0.2, size=(n_molecules, 3)))
    positions = sites[:, None, :] + np.stack([turns.apply(atom) for atom in molecule], axis=1)
    return Atoms("OH2" * n_molecules, positions=positions.reshape(-1, 3), cell=[side] * 3, pbc=True)


def _shaken(frame: Atoms, seed: int) -> Atoms:
    """Return the structure with small random displacements, so that copies differ."""
    frame = frame.copy()
    frame.positions += np.random.default_rng(seed).normal(scale=0.02, size=frame.positions.shape)
    return frame


def selected(names: Sequence[str]) -> list[str]:
    """Return the systems with these names, all of :data:`SYSTEMS` if none is given.

    Raises
    ------
    InputError
        No system has one of the names.
    """
    chosen = [name.strip() for name in names if name.strip()] or list(SYSTEMS)
    for name in chosen:
        build(name)
    return chosen
