"""Evaluation of a potential on a labelled data set."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mlff_core.data.hdf5 import Dataset, LabelledBatch
from mlff_core.data.memory import check_rows
from mlff_core.errors import InputError, MlffError
from mlff_core.judging import metrics
from mlff_core.judging.metrics import Array
from mlff_core.judging.outcome import AtomSample, Evaluation, StructureTable
from mlff_core.potentials.interface import DEVIATIONS, Potential
from mlff_core.structures.batch import split as singles

ATOMS_PER_BATCH = {"cpu": 512, "cuda": 8192}
"""Atoms in a batch: a student of 417,425 parameters needs about half a megabyte per atom for its gradient."""

SAMPLE_SIZE = 100_000
_COMPOSITION_KEYS = np.random.default_rng(0).integers(1 << 62, size=119)


def evaluate(
    potential: Potential,
    dataset: Dataset,
    split: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    atoms_per_batch: int | None = None,
) -> Evaluation:
    """Return the errors of a potential against the labels of a data set.

    Reads and predicts in batches; about 200 bytes per structure and a sample of atoms are kept.

    Parameters
    ----------
    potential
        The potential to evaluate.
    dataset
        Labelled structures.
    split
        ``"train"``, ``"validation"``, ``"test"``, or None for all.
    progress
        Called with (structures done, number of structures) after each batch.
    atoms_per_batch
        Atoms predicted together; more only if a single structure has more.

    Raises
    ------
    InputError
        The split is empty, one of its labels is invalid, or none of its structures could be predicted.
    """
    started = time.perf_counter()
    indices = dataset.indices(split)
    if len(indices) == 0:
        raise InputError(f"{dataset.path} has no structures in split {split!r}; choose another split")
    check_rows(dataset, indices)
    limit = atoms_per_batch or ATOMS_PER_BATCH.get(potential.device.type, ATOMS_PER_BATCH["cpu"])
    collected = _Collected(skipped=Counter())
    n_done = 0
    for chunk in _chunks(indices, dataset.atoms_per_structure[indices], limit):
        labelled = dataset.read(chunk, dtype=potential.dtype)
        kept, predicted = _predict(potential, labelled, collected.skipped)
        if predicted is not None and kept.any():
            collected.add(labelled, kept, predicted)
        n_done += len(chunk)
        if progress is not None:
            progress(n_done, len(indices))
    if not collected.rows:
        reason = collected.skipped.most_common(1)[0][0]
        raise InputError(f"{potential.card.name} could predict none of the {len(indices)} structures: {reason}")
    table = collected.table(dataset)
    return Evaluation(
        card=potential.card,
        data={
            "file": dataset.path.name,
            "sha256": dataset.sha256(),
            "split": split,
            "teacher": dataset.teacher,
            "licence": dataset.license,
        },
        kinds=tuple(dataset.kinds),
        table=table,
        element_sums=collected.element_sums,
        angles=collected.angles,
        sample=collected.sample(),
        skipped=dict(collected.skipped),
        seconds=time.perf_counter() - started,
    )


def _chunks(
    indices: npt.NDArray[np.int64], n_atoms: npt.NDArray[np.int64], limit: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield consecutive structures with at most ``limit`` atoms together, or one structure that has more."""
    start, atoms = 0, 0
    for k, count in enumerate(n_atoms):
        if k > start and atoms + count > limit:
            yield indices[start:k]
            start, atoms = k, 0
        atoms += int(count)
    yield indices[start:]


@dataclass(frozen=True, eq=False)
class _Predicted:
    """Predictions of a batch as arrays: (n_systems,) eV and (n_atoms, 3) eV/Å, and further outputs."""

    energy: Array
    forces: Array
    stress: Array | None
    energy_std: Array | None
    forces_std: Array | None

    def is_finite(self, owner: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which systems have a finite prediction."""
        finite = np.isfinite(self.energy)
        finite[owner[~np.isfinite(self.forces).all(axis=1)]] = False
        return finite


def _predict(
    potential: Potential, labelled: LabelledBatch, skipped: Counter[str]
) -> tuple[npt.NDArray[np.bool_], _Predicted | None]:
    """Return which systems have a valid prediction, shape (n_systems,), and the predictions there are."""
    batch = labelled.batch
    owner = batch.system_idx.numpy()
    try:
        found = None if _is_mixed(labelled) else _arrays(potential, labelled)
    except MlffError as error:
        if batch.n_systems == 1:
            skipped[str(error)] += 1
            return np.zeros(1, dtype=bool), None
        found = None
    if found is None:
        # One structure failed, or only some have a stress: predict one by one, so that one failure costs no other.
        parts = [_predict(potential, _only(labelled, k), skipped) for k in range(batch.n_systems)]
        kept = np.concatenate([part[0] for part in parts])
        sizes = batch.atoms_per_system()
        return kept, _joined([part[1] for part in parts], sizes)
    kept = found.is_finite(owner)
    if not kept.all():
        skipped["the prediction is not finite"] += int((~kept).sum())
    return kept, found


def _only(labelled: LabelledBatch, k: int) -> LabelledBatch:
    atoms = labelled.batch.system_idx == k
    alone = singles(labelled.batch)[k]
    stress = None if labelled.stress is None else labelled.stress[k : k + 1]
    forces = labelled.forces[atoms]
    return LabelledBatch(alone, labelled.energy[k : k + 1], forces, labelled.index[k : k + 1], stress=stress)


def _is_mixed(labelled: LabelledBatch) -> bool:
    """Return whether only some of the structures have a stress."""
    if labelled.stress is None:
        return False
    return len(set(labelled.batch.pbc.any(dim=1).tolist())) > 1


def _joined(parts: list[_Predicted | None], sizes: list[int]) -> _Predicted | None:
    """Return predictions concatenated, NaN where one is missing; None if all are missing."""
    if all(part is None for part in parts):
        return None

    def join(name: str) -> Array | None:
        found = [None if part is None else getattr(part, name) for part in parts]
        if all(array is None for array in found):
            return None
        shapes = [{"energy": (1,), "energy_std": (1,), "stress": (1, 3, 3)}.get(name, (size, 3)) for size in sizes]
        filled = [
            np.full(shape, np.nan) if array is None else array for array, shape in zip(found, shapes, strict=True)
        ]
        return np.concatenate(filled)

    energy, forces = join("energy"), join("forces")
    if energy is None or forces is None:
        return None
    return _Predicted(energy, forces, join("stress"), join("energy_std"), join("forces_std"))


def _arrays(potential: Potential, labelled: LabelledBatch) -> _Predicted:
    want = {"energy", "forces", *(DEVIATIONS & potential.supports)}
    if labelled.stress is not None and bool(labelled.batch.pbc.any()):
        want |= {"stress"} & potential.supports
    prediction = potential.predict(labelled.batch, want=want)
    forces = prediction.need("forces", potential.card.name, "which the evaluation needs")
    others = (prediction.stress, prediction.energy_std, prediction.forces_std)
    return _Predicted(
        _array(prediction.energy), _array(forces), *(None if tensor is None else _array(tensor) for tensor in others)
    )


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array


@dataclass
class _Collected:
    """Results gathered batch by batch."""

    skipped: Counter[str]
    rows: list[dict[str, npt.NDArray[Any]]] = field(default_factory=list)
    element_sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((119, len(metrics.COLUMNS))))
    angles: npt.NDArray[np.int64] = field(default_factory=lambda: metrics.angle_histogram([[0, 0, 0]], [[0, 0, 0]]))
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    pool: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    n_rows: int = 0

    def add(
        self,
        labelled: LabelledBatch,
        kept: npt.NDArray[np.bool_],
        found: _Predicted,
    ) -> None:
        owner = labelled.batch.system_idx.numpy()
        atoms = kept[owner]
        row = (np.cumsum(kept) - 1)[owner[atoms]]
        numbers = labelled.batch.atomic_numbers.numpy()[atoms]
        reference, predicted = labelled.forces.double().numpy()[atoms], found.forces[atoms]
        label = labelled.energy.numpy()[kept]
        stress_error = np.full((len(label), 3, 3), np.nan)
        if labelled.stress is not None and found.stress is not None:
            stress_error[:] = (found.stress - labelled.stress.double().numpy())[kept]
        composition = np.zeros(len(label), dtype=np.int64)
        np.add.at(composition, row, _COMPOSITION_KEYS[numbers])
        self.rows.append(
            {
                "index": labelled.index.numpy()[kept],
                "composition": composition,
                "energy": label,
                "energy_error": found.energy[kept] - label,
                **({} if found.energy_std is None else {"energy_std": found.energy_std[kept]}),
                "sums": metrics.force_sums(reference, predicted, row, len(label)) + metrics.stress_sums(stress_error),
            }
        )
        self.element_sums += metrics.force_sums(reference, predicted, numbers, 119)
        self.angles += metrics.angle_histogram(reference, predicted)
        stds = {} if found.forces_std is None else {"forces_std": found.forces_std[atoms]}
        atom_rows = {"reference": reference, "predicted": predicted, "atomic_numbers": numbers, **stds}
        self._draw({**atom_rows, "row": row + self.n_rows})
        self.n_rows += int(kept.sum())

    def _draw(self, atoms: dict[str, npt.NDArray[Any]]) -> None:
        """Keep the atoms with the smallest random keys: a uniform sample of all atoms in one pass."""
        drawn = {"key": self.rng.random(len(atoms["row"])), **atoms}
        if self.pool:
            drawn = {name: np.concatenate([self.pool[name], values]) for name, values in drawn.items()}
        # Sorting only at twice the size, not at every batch, keeps the cost linear.
        self.pool = drawn if len(drawn["key"]) < 2 * SAMPLE_SIZE else _smallest(drawn)

    def sample(self) -> AtomSample:
        pool = _smallest(self.pool)
        return AtomSample(
            pool["reference"], pool["predicted"], pool["atomic_numbers"], pool["row"], pool.get("forces_std")
        )

    def table(self, dataset: Dataset) -> StructureTable:
        joined = {name: np.concatenate([rows[name] for rows in self.rows]) for name in self.rows[0]}
        index = joined["index"]
        n_atoms = dataset.atoms_per_structure[index]
        molecule = np.asarray(dataset.molecule_id)[index].astype(np.int64)
        _, group = np.unique(np.stack([molecule, joined["composition"]], axis=1), axis=0, return_inverse=True)
        group = np.asarray(group).reshape(-1)  # only numpy 2.0 gives it two dimensions
        return StructureTable(
            index=index,
            n_atoms=n_atoms,
            molecule=molecule,
            group=group,
            kind=dataset.kind[index].astype(np.int64),
            energy=joined["energy"],
            energy_error=joined["energy_error"],
            energy_std=joined.get("energy_std"),
            sums=joined["sums"] + metrics.energy_sums(joined["energy_error"], n_atoms, group),
        )


def _smallest(pool: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    order = np.argsort(pool["key"], kind="stable")[:SAMPLE_SIZE]
    return {name: values[np.sort(order)] for name, values in pool.items()}
