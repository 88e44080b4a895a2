"""Labels from a teacher: energies, forces and, where there is a cell, stresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlff_core.atomic_write import one_writer
from mlff_core.data.convert import as_dataset
from mlff_core.data.label_hessian import with_hessian_rows
from mlff_core.data.label_settings import LabelSettings
from mlff_core.data.reader import Dataset
from mlff_core.data.sharded_run import Progress, RunReport, make_job, run_job
from mlff_core.data.shards import BatchResult, Failure
from mlff_core.data.structure import LabelledStructure, batch_from_structures, packed_by_atoms
from mlff_core.data.workers import TeacherFactory, teacher_here
from mlff_core.errors import InputError, MissingDependencyError, first_line
from mlff_core.potentials.interface import Potential


@dataclass(frozen=True)
class LabelConfig(LabelSettings):
    """How the structures of a file are labelled; see :class:`~mlff_core.data.label_settings.LabelSettings` too."""

    batch_structures: int = 256
    """Structures kept in one file until the end: the most that a killed run loses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_structures < 1:
            raise InputError(f"batch_structures must be at least 1, got {self.batch_structures}")


@dataclass(frozen=True)
class Labelled:
    """Structures labelled by a teacher."""

    structures: list[LabelledStructure | None]
    """With labels; None for those that failed or were left out."""
    failures: dict[int, str]
    """Index of each structure that failed, and the reason."""
    dropped: Counter[str]
    """How many were left out because of ``"force"``."""


def label_structures(
    teacher: Potential,
    structures: Sequence[LabelledStructure],
    settings: LabelSettings | None = None,
    **changes: Any,
) -> Labelled:
    """Return structures with the teacher's labels; one failure does not affect other structures.

    Parameters
    ----------
    teacher
        Gives energies and forces; stresses of periodic structures where it can.
    structures
        Structures; older labels are replaced.
    settings
        Settings; the defaults if None.
    changes
        Settings to change from those.

    Raises
    ------
    MissingDependencyError
        The teacher needs a package that is not installed.
    """
    settings = replace(settings or LabelSettings(), **changes)
    rows, most = settings.hessian_rows, settings.max_force
    labelled: list[LabelledStructure | None] = [None] * len(structures)
    failures: dict[int, str] = {}
    dropped: Counter[str] = Counter()

    def attempt(indices: list[int]) -> None:
        chosen = [structures[k] for k in indices]
        try:
            results = _evaluate(teacher, chosen, settings.atom_energies)
            if rows:
                results = with_hessian_rows(teacher, results, rows, settings.hessian_directions, settings.batch_atoms)
        except MissingDependencyError:
            raise
        except Exception as error:  # teachers may raise anything: any exception is a structure that failed
            if len(indices) == 1:
                failures[indices[0]] = f"{teacher.card.name} failed: {first_line(error)}"
                return
            half = len(indices) // 2
            attempt(indices[:half])
            attempt(indices[half:])
            return
        for k, result in zip(indices, results, strict=True):
            problem = _not_finite(result)
            if problem:
                failures[k] = f"{teacher.card.name} gave {problem} that is not finite"
            elif most and float(np.abs(result.forces).max()) > most:  # type: ignore[arg-type]
                dropped["force"] += 1
            else:
                labelled[k] = result

    for indices in packed_by_atoms(structures, settings.batch_atoms):
        attempt(indices)
    return Labelled(labelled, failures, dropped)


def _evaluate(
    teacher: Potential, structures: Sequence[LabelledStructure], atom_energies: bool
) -> list[LabelledStructure]:
    want = {"energy", "forces"}
    if structures[0].is_periodic and "stress" in teacher.supports:
        want.add("stress")
    if atom_energies:
        want.add("atom_energies")
    # A teacher that has charges gives them at no cost. Of molecules in a cell there is no dipole.
    want |= teacher.supports & ({"charges"} if structures[0].is_periodic else {"charges", "dipole"})
    # Positions as rounded in the file, so that labels belong to exactly those.
    kept = [replace(s, positions=np.asarray(s.positions, dtype=np.float32)) for s in structures]
    prediction = teacher.predict(batch_from_structures(kept, dtype=torch.float64), want=sorted(want))
    counts = [s.n_atoms for s in structures]
    energies = prediction.energy.detach().cpu().tolist()
    forces = prediction.need("forces", teacher.card.name).detach().cpu().numpy().astype(np.float32)
    bounds = np.cumsum(counts)[:-1]
    atoms = (
        np.split(prediction.atom_energies.detach().cpu().numpy().astype(np.float32), bounds)
        if atom_energies and prediction.atom_energies is not None
        else None
    )
    stress = prediction.stress.detach().cpu().numpy() if prediction.stress is not None else None
    charges = prediction.charges
    of_atoms = None if charges is None else np.split(charges.detach().cpu().numpy().astype(np.float32), bounds)
    dipole = None if prediction.dipole is None else prediction.dipole.detach().cpu().numpy().astype(np.float32)
    return [
        replace(
            structure,
            energy=energies[k],
            forces=force,
            stress=None if stress is None else stress[k].astype(np.float32),
            atom_energies=None if atoms is None else atoms[k],
            charges=None if of_atoms is None else of_atoms[k],
            dipole=None if dipole is None else dipole[k],
            hessian_direction=None,
            hessian_product=None,
        )
        for k, (structure, force) in enumerate(zip(kept, np.split(forces, bounds), strict=True))
    ]


def _not_finite(structure: LabelledStructure) -> str:
    for name in ("energy", "forces", "stress", "atom_energies", "charges", "dipole", "hessian_product"):
        value = getattr(structure, name)
        if value is not None and not np.isfinite(value).all():
            return name
    return ""


@dataclass(frozen=True)
class _LabelTask:
    """Labels structures k·n … (k+1)·n − 1 of a data set."""

    source: Dataset
    name: str
    teacher: TeacherFactory | Potential
    config: LabelConfig

    def __call__(self, k: int) -> BatchResult:
        teacher = teacher_here(self.teacher)
        if teacher is None:
            raise InputError("labelling needs a teacher, got none; give a potential or a factory of one")
        config = self.config
        start = k * config.batch_structures
        indices = range(start, min(start + config.batch_structures, len(self.source)))
        # SMILES are restored at the end, by molecule_id.
        structures = [replace(structure, smiles=None) for structure in self.source.structures(indices)]
        result = label_structures(teacher, structures, config)
        return BatchResult(
            structures=[structure for structure in result.structures if structure is not None],
            n_inputs=len(indices),
            n_failed_inputs=len(result.failures),
            failures=[Failure(f"{self.name}:{indices[j]}", "", r) for j, r in sorted(result.failures.items())],
            dropped=dict(result.dropped),
        )


def label(
    source: str | Path,
    output: str | Path,
    teacher: TeacherFactory | Potential,
    config: LabelConfig | None = None,
    *,
    processes: int = 1,
    scheduler: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Label every structure of a file and write a data set; a run that was killed and is started again continues.

    Parameters
    ----------
    source
        A data set, labelled or not, or any structure file that ASE reads.
    teacher
        A potential, or a picklable factory of one where several processes work.
    output, config, processes, scheduler, on_progress
        See :func:`~mlff_core.data.generate.generate`.

    Raises
    ------
    InputError
        The source cannot be read, the output belongs to another run or is being written by another process, or too many
        structures failed.
    """
    config = config or LabelConfig()
    source, output = Path(source), Path(output)
    potential = teacher_here(teacher)
    if potential is None:
        raise InputError("labelling needs a teacher, got none; give a potential or a factory of one")
    with one_writer(output), as_dataset(source, output.with_name(f"{output.name}.parts")) as dataset:
        job = make_job(
            "label",
            _LabelTask(dataset, source.name, teacher, config),
            config,
            source,
            output,
            potential.card,
            n_inputs=len(dataset),
            n_per_batch=config.batch_structures,
            smiles=dataset.smiles,
            kinds=dataset.kinds,
        )
        return run_job(job, processes, scheduler, on_progress)
