"""Infrared spectra: of harmonic vibrations, and of the dipole moments along a trajectory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from ase.geometry import find_mic
from scipy.optimize import linear_sum_assignment
from scipy.signal import find_peaks, welch

from mlff_core.errors import InputError
from mlff_core.judging.physics.frequencies import LIGHT_CM_PER_FS
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.dipole import dipoles
from mlff_core.structures.fragments import find_fragments
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT
from mlff_plugins.molecules.vibrations import KM_PER_MOL, Vibrations

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.potentials.interface import Potential

Array = npt.NDArray[np.float64]

HIGHEST = 4500.0
"""Upper end of a harmonic spectrum, 1/cm."""
HANN = 1.44
"""Full width at half maximum of a Hann window's line, in units of the resolution."""
NEAR = 150.0
"""Difference of two wavenumbers that are still taken for the same vibration, 1/cm."""
STILL = 1e-3
"""Momentum of a whole that does not move, relative to the momenta of its atoms."""
FEWEST_FRAMES = 64
AT_ONCE = 64
"""Number of frames whose dipoles are computed together."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """An infrared spectrum."""

    wavenumbers: Array
    """1/cm, ascending, evenly spaced, shape (n_points,)."""
    absorption: Array
    """Shape (n_points,), km/mol for one 1/cm: the area under a band is its intensity in km/mol."""
    width: float
    """Full width of a line at half its height, 1/cm."""

    def peaks(self, most: int = 20) -> Array:
        """Return wavenumber, 1/cm, and height, km/mol per 1/cm, of the highest maxima, shape (n_peaks, 2)."""
        where, _ = find_peaks(self.absorption, height=0.01 * float(self.absorption.max(initial=0.0)))
        kept = np.sort(where[np.argsort(self.absorption[where])[::-1][:most]])
        return np.column_stack([self.wavenumbers[kept], self.absorption[kept]])


def harmonic_spectrum(found: Vibrations, width: float = 20.0) -> Spectrum:
    """Return the spectrum of harmonic vibrations: a Lorentzian line for each, whose area is its intensity.

    Parameters
    ----------
    found
        Vibrations with intensities; imaginary ones are left out.
    width
        Full width of a line at half its height, 1/cm.

    Raises
    ------
    InputError
        There are no intensities, since the potential gives no dipoles.
    """
    if found.intensities is None:
        raise InputError("there are no infrared intensities: the model gives no charges")
    grid = np.arange(0.0, HIGHEST + 1.0)
    is_real = found.wavenumbers > 0
    centres, areas = found.wavenumbers[is_real, None], found.intensities[is_real, None]
    lines = areas / np.pi * (0.5 * width) / ((grid - centres) ** 2 + (0.5 * width) ** 2)
    return Spectrum(grid, lines.sum(axis=0), width)


def trajectory_spectrum(dipoles: Array, interval_fs: float, temperature_kelvin: float, width: float = 20.0) -> Spectrum:
    """Return the spectrum of a classical trajectory, from the autocorrelation of its dipole moments.

    The absorption is N_A π/(3c² · 4πε₀) times the spectral density of dμ/dt, divided by kT: the classical line shape
    with the harmonic quantum correction, whose area for a harmonic oscillator is that of :func:`harmonic_spectrum`. The
    spectral density is the Fourier transform of the autocorrelation, averaged over overlapping pieces of the trajectory
    with a Hann window (Welch).

    Parameters
    ----------
    dipoles
        Dipole moment of each frame, shape (n_frames, 3), e·Å.
    interval_fs
        Time between two frames, fs.
    temperature_kelvin
        Of the trajectory, K.
    width
        Full width of a line at half its height, 1/cm; lines of a shorter trajectory are wider.

    Raises
    ------
    InputError
        There are too few frames, or a number is not positive.
    """
    if len(dipoles) < FEWEST_FRAMES:
        raise InputError(f"a spectrum needs at least {FEWEST_FRAMES} frames of a trajectory, got {len(dipoles)}")
    for name, value in (("interval_fs", interval_fs), ("temperature_kelvin", temperature_kelvin), ("width", width)):
        if not 0 < value < np.inf:
            raise InputError(f"{name} must be positive, got {value}")
    step = LIGHT_CM_PER_FS * interval_fs  # cm
    n = min(len(dipoles), max(FEWEST_FRAMES, round(HANN / (step * width))))
    grid, density = welch(dipoles, fs=1.0 / step, window="hann", nperseg=n, detrend="constant", axis=0)
    # Spectral density of μ to that of dμ/dt, with the unit of time in which energies are amu·Å²/time².
    rate = 2 * np.pi * LIGHT_CM_PER_FS * FS_PER_TIME_UNIT * grid
    absorption = KM_PER_MOL * density.sum(axis=1) * rate**2 / (EV_PER_KELVIN * temperature_kelvin)
    return Spectrum(grid, absorption, HANN / (step * n))


def frame_dipoles(
    potential: Potential, frames: Sequence[Atoms], on_frames: Callable[[int], None] | None = None
) -> Array:
    """Return the dipole moment of each frame, shape (n_frames, 3), e·Å.

    That of a structure without a cell is about its centre of mass; that of a periodic one is the sum of its molecules'
    moments, each about its own centre of mass, so it does not depend on which images of the atoms are written.

    Parameters
    ----------
    potential
        Gives charges.
    frames
        Structures of the same atoms in the same order.
    on_frames
        Called with the number of finished frames.

    Raises
    ------
    InputError
        The frames differ in their atoms, or only some of them are periodic.
    UnsupportedError
        The potential gives no charges.
    """
    first = frames[0]
    for k, frame in enumerate(frames):
        if len(frame) != len(first) or (frame.numbers != first.numbers).any() or (frame.pbc != first.pbc).any():
            raise InputError(f"frame {k} has other atoms or another periodicity than frame 0; give one trajectory")
    molecules = _molecules(first)
    order = np.concatenate(molecules)
    # Positions from the first atom of the own molecule, on which its moment does not depend.
    anchors = np.concatenate([np.full(len(atoms), atoms[0]) for atoms in molecules])
    owners = np.repeat(np.arange(len(molecules)), [len(atoms) for atoms in molecules])
    found = []
    for start in range(0, len(frames), AT_ONCE):
        chunk = frames[start : start + AT_ONCE]
        batch = batch_from_atoms(chunk, device=potential.device, dtype=potential.dtype)
        charges = potential.predict(batch, want=("charges",)).need("charges", potential.card.name)
        places = [frame.positions[order] - frame.positions[anchors] for frame in chunk]
        if first.pbc.any():
            places = [find_mic(one, frame.cell, frame.pbc)[0] for one, frame in zip(places, chunk, strict=True)]
        n_parts = len(chunk) * len(molecules)
        parts = AtomicBatch(
            positions=torch.from_numpy(np.concatenate(places)),
            atomic_numbers=torch.from_numpy(np.tile(first.numbers[order], len(chunk)).astype(np.int64)),
            cell=torch.zeros(n_parts, 3, 3, dtype=torch.float64),
            pbc=torch.zeros(n_parts, 3, dtype=torch.bool),
            system_idx=torch.from_numpy(np.add.outer(len(molecules) * np.arange(len(chunk)), owners).reshape(-1)),
        )
        own = charges.double().cpu().reshape(len(chunk), -1)[:, torch.from_numpy(order)].reshape(-1)
        found.append(dipoles(parts, own).reshape(len(chunk), len(molecules), 3).sum(dim=1).numpy())
        if on_frames is not None:
            on_frames(start + len(chunk))
    return np.concatenate(found)


def _molecules(atoms: Atoms) -> list[npt.NDArray[np.int64]]:
    """Return the atoms whose moments are added: those of each molecule if periodic, all of them otherwise."""
    if not atoms.pbc.any():
        return [np.arange(len(atoms))]
    return find_fragments(batch_from_atoms(atoms, dtype=torch.float64)).atoms


def mean_temperature(frames: Sequence[Atoms]) -> float | None:
    """Return the mean temperature of frames that have velocities, K; None of frames without.

    A molecule or box that does not move as a whole, or does not turn, has so many degrees of freedom less.
    """
    if not all(frame.has("momenta") for frame in frames):
        return None
    momenta = np.array([frame.get_momenta() for frame in frames])
    masses = frames[0].get_masses()[:, None]
    typical = np.sqrt((momenta**2).sum(axis=(1, 2)).mean())
    n_free = momenta[0].size
    if np.abs(momenta.sum(axis=1)).max() < STILL * typical and len(masses) > 1:
        n_free -= 3
        turns = [frame.get_angular_momentum() / max(np.ptp(frame.positions), 1.0) for frame in frames]
        if not frames[0].pbc.any() and np.abs(turns).max() < STILL * typical and len(masses) > 2:
            n_free -= 3
    energies = 0.5 * (momenta**2 / masses).sum(axis=(1, 2))
    return float(2.0 * energies.mean() / (n_free * EV_PER_KELVIN))


def matched(found: Vibrations, other: Vibrations) -> npt.NDArray[np.int64]:
    """Return for each mode of ``found`` the same vibration in ``other``, shape (n_vibrations,).

    Each mode is used once. What is largest in sum is (o² + 0.1) exp(−Δ²/2w²): o is the overlap of the two mass-weighted
    modes, Δ the difference of their wavenumbers and w is :data:`NEAR`. Overlaps alone would pair stretches with
    torsions where a methyl group is turned; wavenumbers alone would swap neighbours.

    Raises
    ------
    InputError
        The two have other atoms.
    """
    if (found.atoms.numbers != other.atoms.numbers).any() or found.modes.shape != other.modes.shape:
        raise InputError("modes can only be compared for the same atoms in the same order")
    root = np.sqrt(found.atoms.get_masses())[:, None]
    rotation = _rotation(other.atoms, found.atoms)
    one = (root * found.modes).reshape(len(found.modes), -1)
    two = (root * (other.modes @ rotation)).reshape(len(other.modes), -1)
    apart = found.wavenumbers[:, None] - other.wavenumbers
    likeness = ((one @ two.T) ** 2 + 0.1) * np.exp(-0.5 * (apart / NEAR) ** 2)
    _, columns = linear_sum_assignment(-likeness)
    return np.asarray(columns, dtype=np.int64)


def _rotation(moving: Atoms, fixed: Atoms) -> Array:
    """Return the matrix R with moving @ R nearest to fixed, both about their centres of mass (Kabsch)."""
    weights = fixed.get_masses()[:, None]
    a = moving.positions - moving.get_center_of_mass()
    b = fixed.positions - fixed.get_center_of_mass()
    left, _, right = np.linalg.svd((weights * a).T @ b)
    sign = np.sign(np.linalg.det(left @ right))
    rotation: Array = left @ np.diag([1.0, 1.0, sign]) @ right
    return rotation
