"""A model as an ASE calculator."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.outputs import Properties

from mlff_core.errors import InputError
from mlff_core.models.opening import opened
from mlff_core.potentials.checks import check_results
from mlff_core.potentials.interface import DEVIATIONS, Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.electrons import STATE_NAMES
from mlff_plugins.ase.convert import from_prediction, to_batch

DEFAULT_SKIN = 1.0
"""Å."""

ATOMS_PER_CALL = 4096
"""Structures of a list are evaluated together up to about this many atoms, to limit the memory."""

_NAME_IN_CORE = {
    "energy": "energy",
    "free_energy": "energy",
    "forces": "forces",
    "stress": "stress",
    "energies": "atom_energies",
    "energy_std": "energy_std",
    "forces_std": "forces_std",
    "charges": "charges",
    "dipole": "dipole",
}


class NoStressError(InputError, PropertyNotImplementedError):
    """Error for the stress of a structure without a cell; also ASE's own error, so that code that catches it works."""


class MLFFCalculator(Calculator):
    """An ASE calculator driven by a trained model.

    It computes ``energy``, ``free_energy`` (the same), ``forces``, ``stress`` and ``energies`` (of the atoms), as far
    as the model does; for a committee also ``energy_std`` (eV) and ``forces_std`` (n_atoms, 3) (eV/Å), its standard
    deviations, for which ASE has no names: use ``calc.results`` or ``calc.get_property``. The total charge is
    ``atoms.info["charge"]``, the multiplicity ``atoms.info["spin_multiplicity"]``; other names are understood or
    refused, see :func:`mlff_core.structures.electrons.electronic_state`.
    The stress is computed for periodic structures and whenever it is requested.

    Parameters
    ----------
    model
        A name (``mlff models list``), the path of a model file, or a potential.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` …; a potential keeps its own.
    dtype
        ``"float32"`` or ``"float64"``; a potential keeps its own.
    skin
        Å; the neighbour list is rebuilt when an atom has moved by half of it. The results do not depend on it.
    kernel
        ``"auto"`` or the name of a kernel; a potential keeps its own.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or of another format.
    InputError
        Unknown device, dtype or kernel.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from mlff_core.testing import small_student
    >>> atoms = molecule("CH3CH2OH")
    >>> atoms.calc = MLFFCalculator(small_student())
    >>> atoms.get_forces().shape
    (9, 3)
    """

    implemented_properties: ClassVar[list[str]] = list(_NAME_IN_CORE)

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        device: str = "auto",
        dtype: str = "float32",
        skin: float = DEFAULT_SKIN,
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        potential = opened(model, device=device, dtype=dtype, kernel=kernel)
        self.potential = potential
        self.implemented_properties = [  # type: ignore[misc]  # ASE reads the instance's list
            name for name, core in _NAME_IN_CORE.items() if core in potential.supports
        ]
        self.parameters.update(model=potential.card.name, dtype=str(potential.dtype).removeprefix("torch."))
        self._running = VerletPotential(potential, skin)
        self._batch: AtomicBatch | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return a property by ASE's name, with values and units as in ``calc.results``.

        Only one thread at a time: no other may calculate between a calculation and the reading of its result.
        """
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``self.results``; ASE calls this after a change and for a new property.

        Raises
        ------
        InputError
            Positions that are not finite, overlapping atoms, no atoms, or the stress of a structure with no cell (this
            one is ASE's ``PropertyNotImplementedError`` too).
        UnsupportedError
            An element, charge, multiplicity or number of electrons that the model does not take.
        """
        before_atoms = self.atoms
        super().calculate(atoms, properties, system_changes)
        self.results = {}
        atoms = self.atoms
        if atoms is None:
            raise InputError("no structure was given; call calculate(atoms) or set atoms.calc")
        want = {"energy", "forces", *_core_names(properties)} & (self.potential.supports | _core_names(properties))
        if atoms.pbc.any() and atoms.cell.rank == 3:
            want |= {"stress"} & self.potential.supports
        elif "stress" in want:
            raise NoStressError(
                "stress needs a periodic cell with a volume; this structure has none, so do not ask for it"
            )
        want |= DEVIATIONS & self.potential.supports
        before, self._batch = self._batch, None
        if not set(system_changes) <= {"positions"}:
            before = None
        batch = to_batch(atoms, device=self.potential.device, dtype=self.potential.dtype, before=before)
        self._batch = batch
        prediction = self._running.predict(batch, want=want, dynamics=_is_dynamics(before_atoms, atoms))
        results = from_prediction(prediction, [len(atoms)])[0]
        check_results(self.potential.card, results["energy"], *([results["forces"]] if "forces" in results else ()))
        self.results = results

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return the changes since the last calculation, including charge and multiplicity in ``atoms.info``.

        Numbers are compared exactly, in a tenth of the time of ASE's comparison within 1e-15.
        """
        if self.atoms is None or tol != 1e-15:
            changes: list[str] = super().check_state(atoms, tol=tol)
        else:
            changes = [name for name in all_changes if not _same(name, atoms, self.atoms)]
        if self.atoms is not None and any(
            not _same_entry(atoms.info.get(key), self.atoms.info.get(key)) for key in STATE_NAMES
        ):
            changes.append("info")
        return changes

    def set(self, **parameters: Any) -> dict[str, Any]:
        """Refuse a change: model, device, precision, skin and kernel are those of the constructor.

        Raises
        ------
        InputError
            A parameter that is unknown, or has another value than the calculator's.
        """
        for name, value in parameters.items():
            if name not in self.parameters or self.parameters[name] != value:
                raise InputError(
                    f"a calculator's parameters cannot be changed, got {name} = {value!r}; make another: "
                    f"MLFFCalculator(model, {name}={value!r})"
                )
        return {}

    def export_properties(self) -> Properties:
        """Return the results that have a name in ASE."""
        return Properties({name: value for name, value in self.results.items() if name not in DEVIATIONS})

    def calculate_many(
        self, frames: Sequence[Atoms], properties: Iterable[str] = ("energy", "forces")
    ) -> list[dict[str, Any]]:
        """Return the results of many structures, evaluated together in large batches.

        Parameters
        ----------
        frames
            Structures, of any sizes.
        properties
            ASE's names: ``"energy"``, ``"forces"``, ``"stress"``, ``"energies"``, ``"charges"``, ``"dipole"``;
            ``"energy_std"``, ``"forces_std"``.

        Returns
        -------
        list of dict
            One for each structure, with values and units as in ``calc.results``.

        Raises
        ------
        InputError, UnsupportedError
            As :meth:`calculate`, for any of the structures.
        """
        want = _core_names(properties)
        results: list[dict[str, Any]] = []
        start = 0
        while start < len(frames):
            stop, n_atoms = start + 1, len(frames[start])
            while stop < len(frames) and n_atoms + len(frames[stop]) <= ATOMS_PER_CALL:
                n_atoms += len(frames[stop])
                stop += 1
            chunk = list(frames[start:stop])
            batch = to_batch(chunk, device=self.potential.device, dtype=self.potential.dtype)
            # Not through the Verlet list, which is for one moving structure.
            results += from_prediction(self.potential.predict(batch, want=want), [len(frame) for frame in chunk])
            start = stop
        return results

    def get_hessian(self, atoms: Atoms | None = None) -> npt.NDArray[np.float64]:
        """Return the second derivatives of the energy, shape (3·n_atoms, 3·n_atoms), eV/Å².

        Rows and columns run over x, y, z of the first atom, then of the second, as in
        ``ase.vibrations.VibrationsData.from_2d``.

        Raises
        ------
        InputError, UnsupportedError
            As :meth:`calculate`.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("no structure was given; call get_hessian(atoms)")
        batch = to_batch(atoms, device=self.potential.device, dtype=self.potential.dtype)
        hessian: npt.NDArray[np.float64] = self.potential.hessian(batch).detach().cpu().double().numpy()
        return hessian

    def _get_name(self) -> str:
        return "mlff"


def _is_dynamics(before: Atoms | None, atoms: Atoms) -> bool:
    """Return whether the momenta changed: ASE's dynamics changes them at every step, its optimisers never."""
    old, new = None if before is None else before.arrays.get("momenta"), atoms.arrays.get("momenta")
    return new is not None and (old is None or not np.array_equal(old, new))


def _same(name: str, atoms: Atoms, other: Atoms) -> bool:
    if name in ("cell", "pbc"):
        return np.array_equal(getattr(atoms, name), getattr(other, name))
    mine, others = atoms.arrays.get(name), other.arrays.get(name)
    if mine is None or others is None:  # charges and magnetic moments that were never set are zero
        return not any(array is not None and array.any() for array in (mine, others))
    return np.array_equal(mine, others)


def _same_entry(mine: Any, other: Any) -> bool:
    # Nearly always both are missing, and np.array_equal costs ten times as much as ``is``.
    return mine is other or np.array_equal(mine, other)


def _core_names(properties: Iterable[str]) -> set[str]:
    names = {properties} if isinstance(properties, str) else set(properties)
    unknown = sorted(names - set(_NAME_IN_CORE))
    if unknown:
        raise InputError(f"unknown property {', '.join(unknown)}; known are {', '.join(_NAME_IN_CORE)}")
    return {_NAME_IN_CORE[name] for name in names}
