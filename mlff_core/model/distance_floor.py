"""The inner region of a pair (``core`` in settings): filters are constant there, and only the fixed repulsion acts."""

import torch
from torch import Tensor

CORE_WIDTH = 0.15
"""Width of the transition from the constant distance to the true one, as a share of a pair's length."""


def held_distances(distances: Tensor, inverse_lengths: Tensor, core: float, width: float = CORE_WIDTH) -> Tensor:
    """Return the distances used by the filters: the true ones outside the inner region, constant inside.

    With y = r/L, L a pair's length (the range of its repulsion, about that of a covalent bond), w the width and
    t = (y − core + w)/w within 0…1,

        ρ/L = core − w·(½ − t⁶ + 3t⁵ − 5t⁴/2)  for y < core,  ρ = r beyond,

    which has three continuous derivatives and is constant for y < core − w. No labelled data contain two atoms so
    close, and a network that extrapolates to such distances may attract them by more than the hundreds of eV of the
    repulsion. With a constant distance as input the network exerts no force along the pair, and only the repulsion
    remains.

    Parameters
    ----------
    distances
        r, shape (n_edges,), Å.
    inverse_lengths
        1/L, shape (n_edges,), Å⁻¹.
    core
        Upper end of the inner region, in units of L.
    width
        Width w of the transition, in units of L.

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
