"""Predictions for many structures of a file, in batches; the error for a bad structure gives its number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core.errors import InputError, MlffError
from mlff_core.potentials.checks import check_results
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import split
from mlff_core.structures.reading import batch_from_atoms

if TYPE_CHECKING:
    from ase import Atoms


def predict_frames(
    potential: Potential,
    frames: Sequence[Atoms],
    *,
    want: Iterable[str] = ("energy", "forces"),
    batch_size: int = 32,
    on_frames: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Return the wanted properties of each structure.

    Parameters
    ----------
    potential
        The potential to evaluate.
    frames
        Structures of any size.
    want
        Names from :data:`mlff_core.potentials.interface.PROPERTIES`.
    batch_size
        Number of structures in one evaluation.
    on_frames
        Called with the number of finished structures.

    Returns
    -------
    list of dict
        ``energy``, eV, a float; the others as float64 arrays of shape and unit as in
        :class:`~mlff_core.structures.prediction.Prediction`.

    Raises
    ------
    MlffError
        The potential raised an error for a structure; the error has the same class, and its message begins with the
        number of the structure, counted from 0.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    want = tuple(want)
    results: list[dict[str, Any]] = []
    for start in range(0, len(frames), batch_size):
        chunk = frames[start : start + batch_size]
        try:
            results += _predict(potential, chunk, want)
        except MlffError:
            # One at a time, to find the bad structure and to count its atoms from 0.
            results += [_predict_named(potential, frames, start + k, want) for k in range(len(chunk))]
        if on_frames is not None:
            on_frames(len(results))
    return results


def _predict_named(potential: Potential, frames: Sequence[Atoms], index: int, want: tuple[str, ...]) -> dict[str, Any]:
    try:
        return _predict(potential, frames[index : index + 1], want)[0]
    except MlffError as error:
        if len(frames) == 1:
            raise
        raise type(error)(f"frame {index} of {len(frames)}: {error}") from error


def _predict(potential: Potential, frames: Sequence[Atoms], want: tuple[str, ...]) -> list[dict[str, Any]]:
    batch = batch_from_atoms(frames, device=potential.device, dtype=potential.dtype)
    for one in split(batch):
        one.validate_values()
    prediction = potential.predict(batch, want=want).to("cpu")
    energies = prediction.energy.double().tolist()
    counts = np.cumsum([len(frame) for frame in frames])[:-1]
    rows: list[dict[str, Any]] = [{"energy": energy} for energy in energies]
    for name in ("forces", "atom_energies", "forces_std", "charges"):
        tensor = getattr(prediction, name)
        if tensor is not None:
            for row, part in zip(rows, np.split(tensor.double().numpy(), counts), strict=True):
                row[name] = part
    for name in ("stress", "energy_std", "dipole"):
        tensor = getattr(prediction, name)
        if tensor is not None:
            for row, value in zip(rows, tensor.double().numpy(), strict=True):
                row[name] = value
    for row in rows:
        check_results(potential.card, row["energy"], *(value for name, value in row.items() if name != "energy"))
    return rows


def with_results(frame: Atoms, row: dict[str, Any]) -> Atoms:
    """Return a copy of the structure that carries a row of :func:`predict_frames` as ASE's results."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    results: dict[str, Any] = {"energy": row["energy"]}
    if "forces" in row:
        results["forces"] = row["forces"]
    if "stress" in row:
        results["stress"] = full_3x3_to_voigt_6_stress(row["stress"])
    if "atom_energies" in row:
        results["energies"] = row["atom_energies"]
    results.update({name: row[name] for name in ("charges", "dipole") if name in row})
    frame = frame.copy()
    # ASE has no results with these names.
    if "energy_std" in row:
        frame.info["energy_std"] = float(row["energy_std"])
    if "forces_std" in row:
        frame.set_array("forces_std", row["forces_std"])
    frame.calc = SinglePointCalculator(frame, **results)
    return frame
