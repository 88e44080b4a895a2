"""Normal modes as files for viewers: Molden's format, or a trajectory of swinging molecules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_core.atomic_write import write_atomically
from mlff_core.structures.writing import write_structures
from mlff_core.units import ANGSTROM_PER_BOHR

if TYPE_CHECKING:
    from mlff_plugins.molecules.vibrations import Vibrations

FRAMES = 16
"""Frames of one period of a mode."""

SWING = 0.3
"""Largest displacement of an atom in them, Å."""


def write_modes(path: Path, found: Vibrations) -> None:
    """Write normal modes: ``.molden`` for Jmol, Avogadro and others, any other ending as a trajectory by ASE.

    Raises
    ------
    InputError
        The ending is unknown, or the file cannot be written.
    """
    if path.suffix.lower() == ".molden":
        write_atomically(path, molden_text(found).encode())
        return
    frames = []
    for wavenumber, mode in zip(found.wavenumbers, found.modes, strict=True):
        move = SWING * mode / np.linalg.norm(mode, axis=1).max()
        for phase in np.arange(FRAMES) * 2 * np.pi / FRAMES:
            frame = found.atoms.copy()
            frame.positions += np.sin(phase) * move
            frame.info = {"wavenumber_per_cm": float(wavenumber)}
            frames.append(frame)
    write_structures(path, frames)


def molden_text(found: Vibrations) -> str:
    """Return frequencies, geometry and modes in Molden's format, lengths in bohr."""
    symbols = found.atoms.get_chemical_symbols()
    text = ["[Molden Format]", "[FREQ]", *(f"{value:12.4f}" for value in found.wavenumbers)]
    if found.intensities is not None:
        text += ["[INT]", *(f"{value:12.4f}" for value in found.intensities)]
    text += ["[FR-COORD]"]
    for symbol, position in zip(symbols, found.atoms.positions / ANGSTROM_PER_BOHR, strict=True):
        text.append(f"{symbol:2s} " + " ".join(f"{x:14.8f}" for x in position))
    text.append("[FR-NORM-COORD]")
    for k, mode in enumerate(found.modes, start=1):
        text.append(f"vibration {k}")
        # Of length one, as viewers expect.
        text += [" ".join(f"{x:14.8f}" for x in atom) for atom in mode / np.linalg.norm(mode)]
    return "\n".join(text) + "\n"
