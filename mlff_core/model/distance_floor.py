"""The inner region of a pair (``core`` in settings): filters stop changing, and the fixed repulsion alone acts."""

import torch
from torch import Tensor

CORE_WIDTH = 0.15
"""Share of a pair's length over which its distance goes from being held to being itself."""


def held_distances(distances: Tensor, inverse_lengths: Tensor, core: float, width: float = CORE_WIDTH) -> Tensor:
    """Return distances as the filters see them: as they are outside the inner region, held constant inside.

    With y = r/L, L a pair's length (the range of its repulsion, about that of a covalent bond), w the width and
    t = (y − core + w)/w within 0…1,

        ρ/L = core − w·(½ − t⁶ + 3t⁵ − 5t⁴/2)  for y < core,  ρ = r beyond,

    which has three continuous derivatives and is constant for y < core − w. No labelled data hold two atoms so close,
    and a network that extrapolates to them may attract by more than the repulsion's hundreds of eV. One that is told
    the same distance whatever theirs is exerts no force along it, and the repulsion remains.

    Parameters
    ----------
    distances
        r, shape (n_edges,), Å.
    inverse_lengths
        1/L, shape (n_edges,), Å⁻¹.
    core
        Where the inner region ends, in units of L.
    width
        w.

    Returns
    -------
    Tensor
        ρ, shape (n_edges,), Å.
    """
    y = distances * inverse_lengths
    t = torch.clamp((y - (core - width)) / width, 0.0, 1.0)
    t2 = t * t
    held = (core - width * (0.5 - t2 * t2 * (t2 - 3.0 * t + 2.5))) / inverse_lengths
    return torch.where(y < core, held, distances)
