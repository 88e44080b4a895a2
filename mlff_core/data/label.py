"""Labels from a teacher: energies, forces and, where there is a cell, stresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mlff_core.atomic_write import one_writer
from mlff_core.data.convert import as_dataset
from mlff_core.data.digest import file_sha256
from mlff_core.data.label_hessian import with_hessian_rows
from mlff_core.data.reader import Dataset
from mlff_core.data.sharded_run import Job, Progress, RunReport, run
from mlff_core.data.shards import BatchResult, Failure
from mlff_core.data.structure import LabelledStructure, batch_from_structures, packed_by_atoms
from mlff_core.data.workers import TeacherFactory, teacher_here
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.potentials.interface import Potential


@dataclass(frozen=True)
class LabelConfig:
    """How structures are labelled.

    Parameters
    ----------
    batch_structures
        Structures kept in one file until the end: what a killed run loses.
    batch_atoms
        Atoms given to the teacher at once.
    max_force
        Structures with a force above this are left out, eV/Å; 0 keeps all.
    atom_energies
        Keep the teacher's atomic energies too.
    hessian_rows
        Rows of the Hessian of each structure, by differences of the teacher's forces: two evaluations each.
    hessian_directions
        ``"random"`` or ``"coordinate"``; see :data:`mlff_core.data.hessian.DIRECTIONS`.
    max_failed_share
        The run stops when more than this share of the structures has failed.
    """

    batch_structures: int = 256
    batch_atoms: int = 600
    max_force: float = 30.0
    atom_energies: bool = False
    hessian_rows: int = 0
    hessian_directions: Literal["random", "coordinate"] = "random"
    max_failed_share: float = 0.05

    def __post_init__(self) -> None:
        check_label_settings(self.batch_atoms, self.max_force, self.max_failed_share, self.hessian_rows)
        if self.batch_structures < 1:
            raise InputError(f"batch_structures must be at least 1, got {self.batch_structures}")


def check_label_settings(batch_atoms: int, max_force: float, max_failed_share: float, hessian_rows: int) -> None:
    """Refuse impossible settings.

    Raises
    ------
    InputError
        Names the setting and what is allowed.
    """
    if batch_atoms < 1:
        raise InputError(f"batch_atoms must be at least 1, got {batch_atoms}")
    if hessian_rows < 0:
        raise InputError(f"hessian_rows must not be negative, got {hessian_rows}")
    if not max_force >= 0:
        raise InputError(f"max_force must be 0 (no ceiling) or a positive number of eV/Å, got {max_force}")
    if not 0 <= max_failed_share <= 1:
        raise InputError(f"max_failed_share must lie between 0 and 1, got {max_failed_share:g}")


@dataclass(frozen=True)
class Labelled:
    """What a teacher made of some structures.

    Parameters
    ----------
    structures
        With labels; None for those that failed or were left out.
    failures
        Position of each structure that failed, and the reason.
    dropped
        How many were left out because of ``"force"``.
    """

    structures: list[LabelledStructure | None]
    failures: dict[int, str]
    dropped: Counter[str]


def label_structures(
    teacher: Potential,
    structures: Sequence[LabelledStructure],
    *,
    batch_atoms: int = 600,
    max_force: float = 30.0,
    atom_energies: bool = False,
    hessian_rows: int = 0,
    hessian_directions: str = "random",
) -> Labelled:
    """Return structures with the teacher's labels; one that fails costs no other its label.

    Parameters
    ----------
    teacher
        Gives energies and forces; stresses of periodic structures where it can.
    structures
        Any; older labels are replaced.
    batch_atoms
        Atoms given to the teacher at once.
    max_force
        eV/Å; 0 keeps all.
    atom_energies
        Keep the teacher's atomic energies too.
    hessian_rows, hessian_directions
        How many rows of the Hessian of each structure, and along what; see :class:`LabelConfig`.

    Raises
    ------
    MissingDependencyError
        The teacher lacks a package.
    """
    labelled: list[LabelledStructure | None] = [None] * len(structures)
    failures: dict[int, str] = {}
    dropped: Counter[str] = Counter()

    def attempt(indices: list[int]) -> None:
        chosen = [structures[k] for k in indices]
        try:
            results = _evaluate(teacher, chosen, atom_energies)
            if hessian_rows:
                results = with_hessian_rows(teacher, results, hessian_rows, hessian_directions, batch_atoms)
        except MissingDependencyError:
            raise
        except Exception as error:  # teachers are other people's code: any exception is a structure that failed
            if len(indices) == 1:
                failures[indices[0]] = f"{teacher.card.name} failed: {_first_line(error)}"
                return
            half = len(indices) // 2
            attempt(indices[:half])
            attempt(indices[half:])
            return
        for k, result in zip(indices, results, strict=True):
            problem = _not_finite(result)
            if problem:
                failures[k] = f"{teacher.card.name} gave {problem} that is not finite"
            elif max_force and float(np.abs(result.forces).max()) > max_force:  # type: ignore[arg-type]
                dropped["force"] += 1
            else:
                labelled[k] = result

    for indices in packed_by_atoms(structures, batch_atoms):
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
    # Positions as the file keeps them, so that labels belong to exactly those.
    kept = [replace(s, positions=np.asarray(s.positions, dtype=np.float32)) for s in structures]
    prediction = teacher.predict(batch_from_structures(kept, dtype=torch.float64), want=sorted(want))
    if prediction.forces is None:
        raise InputError("no forces came back")
    counts = [s.n_atoms for s in structures]
    energies = prediction.energy.detach().cpu().tolist()
    forces = prediction.forces.detach().cpu().numpy().astype(np.float32)
    bounds = np.cumsum(counts)[:-1]
    atoms = (
        np.split(prediction.atom_energies.detach().cpu().numpy().astype(np.float32), bounds)
        if atom_energies and prediction.atom_energies is not None
        else None
    )
    stress = prediction.stress.detach().cpu().numpy() if prediction.stress is not None else None
    return [
        replace(
            structure,
            energy=energies[k],
            forces=force,
            stress=None if stress is None else stress[k].astype(np.float32),
            atom_energies=None if atoms is None else atoms[k],
            hessian_direction=None,
            hessian_product=None,
        )
        for k, (structure, force) in enumerate(zip(kept, np.split(forces, bounds), strict=True))
    ]


def _not_finite(structure: LabelledStructure) -> str:
    for name in ("energy", "forces", "stress", "atom_energies", "hessian_product"):
        value = getattr(structure, name)
        if value is not None and not np.isfinite(value).all():
            return name
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
            raise InputError("labelling needs a teacher")
        config = self.config
        start = k * config.batch_structures
        indices = range(start, min(start + config.batch_structures, len(self.source)))
        # SMILES are joined again at the end, by molecule_id.
        structures = [replace(structure, smiles=None) for structure in self.source.structures(indices)]
        result = label_structures(
            teacher,
            structures,
            batch_atoms=config.batch_atoms,
            max_force=config.max_force,
            atom_energies=config.atom_energies,
            hessian_rows=config.hessian_rows,
            hessian_directions=config.hessian_directions,
        )
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
    """Label every structure of a file and write them as a data set; killed and started again, it goes on.

    Parameters
    ----------
    source
        A data set, labelled or not, or any structure file that ASE reads.
    output
        The data set file to make. Until it is whole, batches are kept beside it in ``<output>.parts``.
    teacher
        A potential, or a picklable factory of one where several processes work.
    config
        Settings; the defaults if None.
    processes, scheduler
        See :func:`~mlff_core.data.workers.run_batches`.
    on_progress
        Called after each batch.

    Raises
    ------
    InputError
        The source cannot be read, the output is another run's or is being written by another process, or too many
        structures failed.
    """
    config = config or LabelConfig()
    source, output = Path(source), Path(output)
    potential = teacher_here(teacher)
    if potential is None:
        raise InputError("labelling needs a teacher")
    with one_writer(output), as_dataset(source, output.with_name(f"{output.name}.parts")) as dataset:
        settings = asdict(config)
        settings.pop("max_failed_share")
        lineage = dict(potential.card.teacher) or {"name": potential.card.name}
        source_sha256 = file_sha256(source)
        job = Job(
            task=_LabelTask(dataset, source.name, teacher, config),
            n_batches=-(-len(dataset) // config.batch_structures),
            n_inputs=len(dataset),
            output=output,
            identity={"command": "label", "settings": settings, "source": source_sha256, "teacher": lineage},
            max_failed_share=config.max_failed_share,
            teacher=lineage,
            created={
                "command": "label",
                "settings": settings,
                "source": {"name": source.name, "sha256": source_sha256},
            },
            license=potential.card.licence,
            smiles=dataset.smiles,
            kinds=dataset.kinds,
        )
        return run(job, processes=processes, scheduler=scheduler, on_progress=on_progress)
