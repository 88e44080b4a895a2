"""Molecules of one SMILES set beside one another; RDKit embeds each of them at the origin."""

from __future__ import annotations

from typing import Any

import numpy as np

GAP = 2.5
"""Distance of the closest atoms of two molecules, Å; a force field or a model then draws them together."""

SHIFT = 0.1
"""Step by which a molecule is moved away, Å."""


def set_apart(molecule: Any, seed: int) -> None:
    """Move the molecules in each conformer of an RDKit molecule next to one another, randomly turned.

    Parameters
    ----------
    molecule
        RDKit's molecule of several fragments; its conformers are changed.
    seed
        The same seed gives the same places.
    """
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    fragments = [list(own) for own in Chem.GetMolFrags(molecule)]
    random = np.random.default_rng(seed)
    for conformer in molecule.GetConformers():
        positions = conformer.GetPositions()
        placed = positions[fragments[0]] - positions[fragments[0]].mean(axis=0)
        positions[fragments[0]] = placed
        for own in fragments[1:]:
            rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
            rotation *= np.sign(np.linalg.det(rotation))  # a reflection would change the handedness
            turned = (positions[own] - positions[own].mean(axis=0)) @ rotation
            direction = random.normal(size=3)
            direction /= np.linalg.norm(direction)
            distance = 0.0
            while _closest(turned + distance * direction, placed) < GAP:
                distance += SHIFT
            positions[own] = turned + distance * direction
            placed = np.concatenate([placed, positions[own]])
        for k, position in enumerate(positions):
            conformer.SetAtomPosition(k, Point3D(*map(float, position)))


def _closest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a[:, None] - b[None], axis=2).min())
