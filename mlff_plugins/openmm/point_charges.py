"""The force field's point charges around the model's atoms: their potential there, and the forces back on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlff_plugins.openmm.convert import same_box

COULOMB_KJ_MOL_NM = 138.935456
"""OpenMM's 1/(4πε₀), kJ·nm/(mol·e²): its Coulomb terms must be completed and removed with its own constant."""

SKIN_NM = 0.2
"""Charges this much beyond the cutoff are kept in a list, which is renewed when a particle has moved by half of it."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Screening:
    """The interaction of two unit charges, k(1/r + a r² − b) up to a cutoff and zero beyond; a and b from ε.

    This is OpenMM's reaction field: a = (ε − 1)/((2ε + 1) r_c³), b = 3ε/((2ε + 1) r_c). With ε = ∞ energy and force
    vanish at the cutoff.

    Parameters
    ----------
    cutoff
        r_c, nm; None is plain Coulomb at all distances.
    dielectric
        ε beyond the cutoff; ``math.inf`` for a conductor.
    periodic
        Whether the nearest image of each charge counts.
    """

    cutoff: float | None
    dielectric: float
    periodic: bool

    def coefficients(self) -> tuple[float, float]:
        """Return (a, 1/nm³, and b, 1/nm)."""
        if self.cutoff is None:
            return 0.0, 0.0
        one = 0.0 if np.isinf(self.dielectric) else 1.0 / self.dielectric
        return (1.0 - one) / ((2.0 + one) * self.cutoff**3), 3.0 / ((2.0 + one) * self.cutoff)


class PointCharges:
    """Point charges around some atoms, evaluated in float64.

    Parameters
    ----------
    charges
        Shape (n_charges,), e.
    screening
        How they act.
    """

    def __init__(self, charges: npt.ArrayLike, screening: Screening) -> None:
        self.charges: Array = np.asarray(charges, dtype=np.float64)
        self.screening = screening
        self._near: npt.NDArray[np.int64] | None = None
        self._built: tuple[Array, Array | None] | None = None

    def around(self, atoms: Array, places: Array, box: Array | None) -> Surroundings:
        """Return the charges' potential at the atoms, and what is needed for the forces.

        Parameters
        ----------
        atoms
            Positions of the atoms, shape (n_atoms, 3), nm.
        places
            Positions of the charges, shape (n_charges, 3), nm.
        box
            Box vectors in OpenMM's reduced form, shape (3, 3), nm, rows; not read where not periodic.
        """
        box = box if self.screening.periodic else None
        near = self._within_reach(atoms, places, box)
        vectors = _nearest(atoms[:, None, :] - places[None, near, :], box)
        squared = np.einsum("ijk,ijk->ij", vectors, vectors)
        scaled = COULOMB_KJ_MOL_NM * self.charges[near]
        a, b = self.screening.coefficients()
        inverse = 1.0 / np.sqrt(squared)
        terms, slopes = inverse + a * squared - b, 2.0 * a - inverse / squared
        if self.screening.cutoff is not None:
            inside = squared < self.screening.cutoff**2
            terms, slopes = terms * inside, slopes * inside
        return Surroundings(terms @ scaled, vectors * (slopes * scaled)[:, :, None], near, len(places))

    def _within_reach(self, atoms: Array, places: Array, box: Array | None) -> npt.NDArray[np.int64]:
        """Return the indices of the charges within the cutoff of any atom; some lie up to the skin beyond."""
        reach = None if self.screening.cutoff is None else self.screening.cutoff + SKIN_NM
        # Beyond half a box, the nearest image of a charge may be another one at the next step.
        if reach is None or (box is not None and 2.0 * reach > float(np.diag(box).min())):
            return np.arange(len(places))
        now = np.concatenate([atoms, places])
        if self._near is not None and self._built is not None:
            before, box_before = self._built
            if same_box(box, box_before) and float(np.square(now - before).sum(axis=1).max()) < (0.5 * SKIN_NM) ** 2:
                return self._near
        reached = np.zeros(len(places), dtype=bool)
        for atom in atoms:
            vectors = _nearest(places - atom, box)
            reached |= np.einsum("jk,jk->j", vectors, vectors) < reach**2
        self._near, self._built = np.flatnonzero(reached), (now, box)
        return self._near


@dataclass(frozen=True)
class Surroundings:
    """The charges around the atoms at one moment.

    Attributes
    ----------
    potentials
        φ at the atoms, shape (n_atoms,), kJ/(mol·e).
    gradients
        ∂φ_i/∂x_i by each near charge, shape (n_atoms, n_near, 3), kJ/(mol·e·nm).
    near
        Indices of the charges that ``gradients`` is about, shape (n_near,).
    n_charges
        Number of all charges.
    """

    potentials: Array
    gradients: Array
    near: npt.NDArray[np.int64]
    n_charges: int

    def forces(self, charges: Array) -> tuple[Array, Array]:
        """Return the forces of Σ_i q_i φ_i at constant q_i, kJ/mol/nm, on the atoms and on the point charges.

        Parameters
        ----------
        charges
            q_i of the atoms, shape (n_atoms,), e.

        Returns
        -------
        tuple of arrays
            Shapes (n_atoms, 3) and (n_charges, 3); they sum to zero.
        """
        pairs = charges[:, None, None] * self.gradients
        back = np.zeros((self.n_charges, 3))
        back[self.near] = pairs.sum(axis=0)
        return -pairs.sum(axis=1), back


def _nearest(vectors: Array, box: Array | None) -> Array:
    """Return the vectors, shape (…, 3), nm, to the nearest images in a reduced box, as OpenMM finds them."""
    if box is None:
        return vectors
    for k in (2, 1, 0):
        vectors = vectors - np.round(vectors[..., k : k + 1] / box[k, k]) * box[k]
    return vectors
