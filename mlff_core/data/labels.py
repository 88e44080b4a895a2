"""Labels of ASE's frames, found under the names that files use, in the units and signs of this project.

Energies are eV, forces eV/Å, stresses eV/Å³ and positive under tension, virials eV with the sign of QUIP, GAP and MACE:
virial = −volume × stress. Charges are e, dipoles e·Å about the centre of mass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core.data.structure import Array
from mlff_core.errors import InputError
from mlff_core.structures.arrays import refuse_masked_or_complex

if TYPE_CHECKING:
    from ase import Atoms

NAMES = {
    "energy": ("energy", "free_energy"),
    "forces": ("forces", "force"),
    "stress": ("stress",),
    "virial": ("virial", "virials"),
    "atom_energies": ("energies",),
    "charges": ("charges",),
    "dipole": ("dipole",),
}
"""Usual names of labels, in lower case; the first that a frame has is used."""

PREFIXES = ("", "ref_", "dft_")
"""Prefixes of these names in files."""

GEOMETRY = ("numbers", "positions", "cell", "pbc")
TOLERANCE = 1e-4
"""Largest difference between two values of the same label, eV, eV/Å or eV/Å³."""


@dataclass(frozen=True)
class LabelKeys:
    """Names of labels in a structure file, if they are not among the usual ones."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    """Keys of ``atoms.info`` or ``atoms.arrays``, or results of the calculator, spelt as in the file; None to look for
    the usual names."""


@dataclass
class Labels:
    """Finds the labels of each frame, and counts the entries that it does not use."""

    keys: LabelKeys = field(default_factory=LabelKeys)
    """Names given by the user."""
    not_taken: Counter[str] = field(default_factory=Counter)
    """Number of frames with each entry that was not used."""

    def of(self, frame: Atoms, taken: set[str]) -> dict[str, Any]:
        """Return the labels of :data:`~mlff_core.data.layout.LABELS` of a frame, as far as it has them.

        Parameters
        ----------
        frame
            Structure with labels in its calculator, ``info`` or ``arrays``.
        taken
            Entries that are already used for something else.

        Raises
        ------
        InputError
            A key that was given is missing, a label has the wrong shape, or two values of the same label differ.
        """
        entries: dict[str, Any] = {**frame.arrays, **frame.info, **(frame.calc.results if frame.calc else {})}
        entries = {str(name): value for name, value in entries.items() if value is not None and name not in GEOMETRY}
        used: set[str] = set()
        found = {
            label: self._one(label, entries, used, read)
            for label, read in (
                ("energy", _energy),
                ("forces", lambda name, value: _array(name, value, (len(frame), 3))),
                ("atom_energies", lambda name, value: _array(name, value, (len(frame),))),
                ("charges", lambda name, value: _array(name, value, (len(frame),))),
                ("dipole", lambda name, value: _array(name, value, (3,))),
            )
        }
        volume = float(frame.cell.volume)
        if frame.pbc.any() and volume > 0:
            stress = self._one("stress", entries, used, _stress)
            virial = self._one("virial", entries, used, lambda name, value: -_stress(name, value) / volume)
            if stress is not None and virial is not None:
                _check_equal("stress", "−virial/volume", stress, virial)
            found["stress"] = virial if stress is None else stress
        elif any(key in entries for key in (self.keys.stress, self.keys.virial)):
            raise InputError("a stress or virial needs a periodic cell, but this frame has none; set cell and pbc")
        self.not_taken.update(name for name in entries if name not in used and name not in taken)
        return {label: value for label, value in found.items() if value is not None}

    def _one(
        self, label: str, entries: dict[str, Any], used: set[str], read: Callable[[str, Any], Array]
    ) -> Array | None:
        """Return the label under the first of its names; other entries with the same name must have the same value."""
        if (key := getattr(self.keys, label, None)) is not None:
            if key not in entries:
                raise InputError(f"there is no {label} {key!r}; there are {', '.join(sorted(entries)) or 'no labels'}")
            used.add(key)
            return read(key, entries[key])
        best: Array | None = None
        for name in NAMES[label]:
            keys = [key for prefix in PREFIXES for key in entries if key.lower() == f"{prefix}{name}"]
            if best is not None:  # a free energy beside an energy: not used, unless it is the same
                used.update(key for key in keys if _difference(best, read(key, entries[key])) <= TOLERANCE)
                continue
            used.update(keys)
            for key in keys:
                value = read(key, entries[key])
                if best is not None:
                    _check_equal(keys[0], key, best, value, f"; name the one to use with --{label}-key")
                else:
                    best = value
        return best


def _difference(one: Array, other: Array) -> float:
    return float(np.abs(one - other).max(initial=0.0))


def _check_equal(one: str, other: str, first: Array, second: Array, remedy: str = "; leave one of them out") -> None:
    if not (difference := _difference(first, second)) <= TOLERANCE:
        raise InputError(f"{one} and {other} must be the same, but differ by up to {difference:.3g}{remedy}")


def _energy(name: str, value: Any) -> Array:
    return _array(name, np.squeeze(value) if not isinstance(value, str) else value, ())


def _array(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    refuse_masked_or_complex(name, value)
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"{name} must have shape {shape}, got {array.shape}")
    return array


def _stress(name: str, value: Any) -> Array:
    """Return shape (3, 3) from ASE's six numbers, xx yy zz yz xz xy, from nine, or from three rows."""
    refuse_masked_or_complex(name, value)
    array = np.asarray(value, dtype=np.float64)
    if array.shape == (6,):
        xx, yy, zz, yz, xz, xy = array
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if array.shape not in ((9,), (3, 3)):
        raise InputError(f"{name} must be 6 numbers (xx yy zz yz xz xy), 9, or 3 × 3, got shape {array.shape}")
    full = array.reshape(3, 3)
    if np.abs(full - full.T).max() > 1e-3 * float(np.abs(full).max()):
        raise InputError(f"{name} must be symmetric, got {full.tolist()}")
    return full
