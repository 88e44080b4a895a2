"""The only conversion factors in the project.

Core units are eV, Å, eV/Å, eV/Å³, e and atomic mass units. An engine with other units converts in exactly two
functions of its plugin, ``to_batch`` and ``from_prediction``, with the factors below.

Values: CODATA 2022 (https://physics.nist.gov/cuu/Constants/), exact where the SI fixes them. Other codes use
tables of other years; the largest relative difference found in practice is 2e-7 (i-PI).
"""

from __future__ import annotations

EV_PER_HARTREE = 27.211386245981
"""Hartree energy in eV."""

ANGSTROM_PER_BOHR = 0.529177210544
"""Bohr radius in Å."""

KJ_MOL_PER_EV = 96.48533212331002
"""Faraday constant / 1000, exact: 1.602176634e-19 C × 6.02214076e23 / mol."""

KCAL_MOL_PER_EV = KJ_MOL_PER_EV / 4.184
"""The thermochemical calorie is 4.184 J by definition."""

ANGSTROM_PER_NM = 10.0

EV_PER_KELVIN = 8.617333262145179e-05
"""Boltzmann constant, exact: 1.380649e-23 J/K / 1.602176634e-19 J/eV."""

GPA_PER_EV_PER_ANGSTROM3 = 160.2176634
"""1 eV/Å³ in GPa, exact."""

J_M2_PER_EV_PER_ANGSTROM2 = 16.02176634
"""1 eV/Å² in J/m², exact; of surface energies."""

BAR_PER_EV_PER_ANGSTROM3 = GPA_PER_EV_PER_ANGSTROM3 * 1.0e4

COULOMB_EV_ANGSTROM = EV_PER_HARTREE * ANGSTROM_PER_BOHR
"""e²/(4πε₀) in eV·Å: the hartree times the bohr."""

FS_PER_TIME_UNIT = 10.180505717871
"""Å·√(amu/eV) in fs, the unit of time that goes with eV, Å and atomic mass units: √(1.66053906892e-27 kg · 1e-20 m² /
1.602176634e-19 J)."""
