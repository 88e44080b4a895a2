"""Torsion angles that stay where they are while the rest of their structures relaxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Torsion = tuple[int, int, int, int]
"""Four atoms of a structure, by their numbers in it, the torsion being about the bond of the middle two."""

ROUNDS = 8
"""Rounds in which the angles are set again after a step; each squares the error."""


class HeldTorsions:
    """Torsions of a batch, each with the angle that it keeps.

    Forces lose their components along the gradients of the angles, and after a step the angles are set again along
    these gradients (Newton's method), as SHAKE does with bonds.

    Parameters
    ----------
    torsions
        Those of each structure; the same number in every one.
    targets
        Their angles, shape (n_systems, n_torsions), radians.
    first_atoms
        Number of the first atom of each structure in the batch, n_systems of them.
    owner
        Structure of each atom, shape (n_atoms,), int64.
    """

    def __init__(
        self, torsions: Sequence[Sequence[Torsion]], targets: Tensor, first_atoms: Sequence[int], owner: Tensor
    ) -> None:
        quads = [[[first + a for a in one] for one in own] for own, first in zip(torsions, first_atoms, strict=True)]
        self.quads = torch.tensor(quads, device=owner.device)  # (n_systems, n_torsions, 4)
        self.targets, self.owner = targets, owner

    def without_their_part(self, positions: Tensor, forces: Tensor) -> Tensor:
        """Return forces (n_atoms, 3), eV/Å, without what would turn the torsions at ``positions``, Å."""
        rows: list[Tensor] = []
        for quads in self.quads.unbind(1):
            row = torch.zeros_like(positions)
            row[quads] = angles_and_gradients(positions, quads)[1]
            for earlier in rows:
                row = row - self._dot(row, earlier)[self.owner, None] * earlier
            rows.append(row / self._dot(row, row).sqrt().clamp(min=1e-12)[self.owner, None])
        for row in rows:
            forces = forces - self._dot(forces, row)[self.owner, None] * row
        return forces

    def restored(self, positions: Tensor) -> Tensor:
        """Return positions (n_atoms, 3), Å, with the torsions at their angles again."""
        positions = positions.clone()
        for _ in range(ROUNDS):
            largest = 0.0
            for k, quads in enumerate(self.quads.unbind(1)):
                angles, gradients = angles_and_gradients(positions, quads)
                off = torch.remainder(self.targets[:, k] - angles + torch.pi, 2 * torch.pi) - torch.pi
                # At most 0.2 rad at once: the gradient turns with the atoms.
                move = off.clamp(-0.2, 0.2) / gradients.square().sum(dim=(1, 2))
                positions[quads] += move[:, None, None] * gradients
                largest = max(largest, float(off.abs().max()))
            if largest < 1e-9:
                break
        return positions

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        return a.new_zeros(len(self.targets)).index_add_(0, self.owner, (a * b).sum(dim=1))


def angles_and_gradients(positions: Tensor, quads: Tensor) -> tuple[Tensor, Tensor]:
    """Return torsion angles, shape (n,), radians in (−π, π], and their gradients, shape (n, 4, 3), 1/Å.

    The formula without singularities at 0 and π of A. Blondel and M. Karplus, J. Comput. Chem. 17, 1132 (1996),
    doi:10.1002/(SICI)1096-987X(19960715)17:9<1132::AID-JCC5>3.0.CO;2-T.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å.
    quads
        Atoms of each torsion, shape (n, 4), int64.
    """
    a, b, c, d = positions[quads].unbind(1)
    f, g, h = a - b, b - c, d - c
    u, v = torch.linalg.cross(f, g), torch.linalg.cross(h, g)
    length = g.norm(dim=1, keepdim=True)
    uu, vv = u.square().sum(dim=1, keepdim=True), v.square().sum(dim=1, keepdim=True)
    angles = torch.atan2((torch.linalg.cross(v, u) * g).sum(dim=1) / length[:, 0], (u * v).sum(dim=1))
    fg, hg = (f * g).sum(dim=1, keepdim=True), (h * g).sum(dim=1, keepdim=True)
    at_a, at_d = -length / uu * u, length / vv * v
    between = fg / (uu * length) * u - hg / (vv * length) * v
    gradients = torch.stack([at_a, -at_a + between, -at_d - between, at_d], dim=1)
    return angles, gradients
