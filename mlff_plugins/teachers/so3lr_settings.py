"""Settings of SO3LR: its file, its cutoffs, and its properties."""

from __future__ import annotations

SHA256 = "b5145564911ff983ed076ccb2bca5ce63454b74c9c8291092695463f1e6732be"
"""SHA-256 of ``so3lr.model`` in so3krates-torch 0.2.1. The file is a full pickle, so no other file is unpickled."""

LONG_RANGE_CUTOFF = 1000.0
"""Å, without a cell: every pair. The package's 12 Å cost 1.3 kcal/mol on hydrogen-bonded dimers."""

LONG_RANGE_CUTOFF_PERIODIC = 12.0
"""Å, with a cell: the package's default, a smooth shifted-force sum. Its particle-mesh Ewald is not used,
since it replaces the damped Coulomb law that the network was trained with."""

DISPERSION_DAMPING = 2.0
"""Å before the long-range cutoff over which dispersion is switched off; the package's default."""

GIVES = frozenset({"energy", "forces", "stress", "atom_energies", "charges", "dipole"})
"""Properties, as :data:`mlff_core.potentials.interface.PROPERTIES` names them."""
