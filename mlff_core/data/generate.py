"""Geometries from molecules or structures by the enabled strategies, labelled where there is a teacher."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from mlff_core.atomic_write import one_writer
from mlff_core.data.label import label_structures
from mlff_core.data.recipe import GenerateConfig
from mlff_core.data.sampling import STRATEGIES, Cluster, GfnffMd, SamplingContext, Strategy, closest_contact
from mlff_core.data.sampling.cluster import water
from mlff_core.data.sampling.conformers import conformers
from mlff_core.data.sharded_run import Progress, RunReport, make_job, run_job
from mlff_core.data.shards import BatchResult, Failure
from mlff_core.data.sources import Source, open_source, seed_of
from mlff_core.data.structure import LabelledStructure, batch_from_structures
from mlff_core.data.workers import TeacherFactory, teacher_here
from mlff_core.errors import InputError, MissingDependencyError, UnsupportedError, first_line
from mlff_core.plugins.requirements import require
from mlff_core.potentials.checks import check_supported
from mlff_core.potentials.interface import Potential

INSTALL = "pip install 'mlff-hub[data]'"


_Miss = tuple[int, str, str]
"""Number of the input, kind of geometry, reason."""


@dataclass
class _Start:
    """A structure to start from, and the input it came from."""

    input: int
    conformer: int
    structure: LabelledStructure


@dataclass(frozen=True)
class _GenerateTask:
    """Makes and labels the geometries of inputs k·n … (k+1)·n − 1."""

    source: Source
    teacher: TeacherFactory | Potential | None
    config: GenerateConfig

    def __call__(self, k: int) -> BatchResult:
        config, first = self.config, k * self.config.batch_molecules
        inputs = range(first, min(first + config.batch_molecules, len(self.source)))
        teacher = teacher_here(self.teacher)
        failures: list[_Miss] = []
        outside: list[_Miss] = []
        dropped: Counter[str] = Counter()
        starts: list[_Start] = []
        for i in inputs:
            try:
                found = self.source.starts(i, config.conformers, seed_of(config.seed, i))
            except MissingDependencyError:
                raise
            except Exception as error:  # RDKit raises many kinds of errors; one molecule must not end the run
                failures.append((i, "", first_line(error)))
                continue
            refused: set[str | None] = set()
            for c, structure in enumerate(found):
                if structure.smiles in refused:  # another conformer of the same state
                    continue
                if refusal := _refusal(teacher, structure):
                    refused.add(structure.smiles)
                    outside.append((i, "", refusal))
                    dropped["outside the teacher"] += 1
                elif config.max_atoms and structure.n_atoms > config.max_atoms:
                    dropped["too large"] += 1
                else:
                    starts.append(_Start(i, c, structure))
        made = self._sample(starts, teacher, failures)
        kept = []
        for i, structure in made:
            if closest_contact(structure) < config.clash:
                dropped["clash"] += 1
            else:
                kept.append((i, structure))
        kept.sort(key=lambda pair: pair[0])
        structures = [structure for _, structure in kept]
        if teacher is not None:
            result = label_structures(teacher, structures, config)
            dropped.update(result.dropped)
            failures += [(kept[j][0], structures[j].kind, why) for j, why in sorted(result.failures.items())]
            structures = [structure for structure in result.structures if structure is not None]
        return BatchResult(
            structures=structures,
            n_inputs=len(inputs),
            n_failed_inputs=len({i for i, _, _ in failures}),
            failures=[
                Failure(self.source.name(i), kind, reason, count)
                for (i, kind, reason), count in Counter(outside + failures).items()
            ],
            dropped=dict(dropped),
        )

    def _sample(
        self, starts: Sequence[_Start], teacher: Potential | None, failures: list[_Miss]
    ) -> list[tuple[int, LabelledStructure]]:
        context = SamplingContext(teacher, self._partner, self._solvent)
        made: list[tuple[int, LabelledStructure]] = []
        for strategy in self.config.kinds.enabled():
            served = [start for start in starts if strategy.serves(start.structure)]
            for start, found in self._apply(strategy, served, context, failures):
                made += [(start.input, _owned(structure, start.structure)) for structure in found]
        return made

    def _apply(
        self, strategy: Strategy, starts: list[_Start], context: SamplingContext, failures: list[_Miss]
    ) -> list[tuple[_Start, list[LabelledStructure]]]:
        """Sample all starts together; if that fails, sample one by one to find which start failed."""
        if not starts:
            return []
        # Each start and kind has its own random numbers: switching a kind off changes no other, nor does a batch size.
        rngs = [
            np.random.default_rng((self.config.seed, start.input, start.conformer, zlib.crc32(strategy.kind.encode())))
            for start in starts
        ]
        try:
            found = strategy.sample_many([start.structure for start in starts], rngs, context)
        except MissingDependencyError:
            raise
        except Exception as error:  # force fields and teachers may raise anything
            if len(starts) == 1:
                failures.append((starts[0].input, strategy.kind, first_line(error)))
                return []
            return [pair for start in starts for pair in self._apply(strategy, [start], context, failures)]
        return list(zip(starts, found, strict=True))

    def _partner(self, rng: np.random.Generator) -> LabelledStructure:
        """Return a random input's first conformer; water after five that cannot be used."""
        for _ in range(5):
            i = int(rng.integers(len(self.source)))
            try:
                partner = _first_conformer(self.source, i, self.config.seed)
            except InputError:
                continue
            if not partner.is_periodic and not _refusal(teacher_here(self.teacher), partner):
                return partner
        return water()

    def _solvent(self, rng: np.random.Generator) -> LabelledStructure:
        smiles = self.config.solvents[rng.integers(len(self.config.solvents))]
        return _solvent(smiles)


@lru_cache(maxsize=512)
def _solvent(smiles: str) -> LabelledStructure:
    return water() if smiles == "O" else conformers(smiles, 1, 0)[0]


@lru_cache(maxsize=512)
def _first_conformer(source: Source, i: int, seed: int) -> LabelledStructure:
    return source.starts(i, 1, seed_of(seed, i))[0]


def _refusal(teacher: Potential | None, structure: LabelledStructure) -> str:
    """Return why the teacher does not support this structure (an element, a charge), or an empty string."""
    if teacher is None:
        return ""
    try:
        check_supported(teacher.card, batch_from_structures([structure]))
    except UnsupportedError as error:
        return first_line(error)
    return ""


def _owned(structure: LabelledStructure, start: LabelledStructure) -> LabelledStructure:
    """Return the structure with its molecule: that of its SMILES, or else that of its start."""
    if structure.smiles is not None and start.smiles is not None:
        return replace(structure, molecule_id=None, split=None)
    return replace(structure, molecule_id=start.molecule_id, smiles=None, split=None)


def generate(
    source: str | Path,
    output: str | Path,
    config: GenerateConfig | None = None,
    *,
    teacher: TeacherFactory | Potential | None = None,
    limit: int | None = None,
    processes: int = 1,
    scheduler: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Make a data set from molecules or structures; a run that was killed and is started again continues.

    Parameters
    ----------
    source
        A file of SMILES, an SDF, a data set, or any structure file that ASE reads.
    output
        The data set file to make. Until it is complete, batches are kept beside it in ``<output>.parts``.
    config
        Settings; the defaults if None.
    teacher
        Labels the geometries, and gives forces to the kinds that need them: a potential, or a picklable factory where
        several processes work. None makes geometries without labels, to be labelled later.
    limit
        Use the first inputs only.
    processes, scheduler, on_progress
        See :func:`~mlff_core.data.sharded_run.run_job`.

    Raises
    ------
    InputError
        The source cannot be read, the output belongs to another run or is being written by another process, a kind
        needs a teacher, or too many inputs failed.
    MissingDependencyError
        An enabled kind needs a package that is not installed.
    """
    config = config or GenerateConfig()
    source, output = Path(source), Path(output)
    potential = teacher_here(teacher)
    _check_kinds(config, potential)
    with one_writer(output):
        inputs = open_source(
            source, output.with_name(f"{output.name}.parts"), limit, ph=config.ph, tautomers=config.tautomers
        )
        job = make_job(
            "generate",
            _GenerateTask(inputs, teacher, config),
            config,
            source,
            output,
            None if potential is None else potential.card,
            n_inputs=len(inputs),
            n_per_batch=config.batch_molecules,
            kinds=list(STRATEGIES),
        )
        return run_job(job, processes, scheduler, on_progress)


def _check_kinds(config: GenerateConfig, teacher: Potential | None) -> None:
    enabled = config.kinds.enabled()
    if teacher is None:
        needy = [strategy.kind for strategy in enabled if strategy.needs_teacher]
        if needy:
            raise InputError(
                f"the kind {' and '.join(needy)} needs a teacher: give one, or disable it "
                f"({', '.join(f'--set kinds.{kind}.enabled=false' for kind in needy)})"
            )
    if any(isinstance(strategy, GfnffMd | Cluster) for strategy in enabled):
        require("the kinds md and cluster", ("gfnff>=0.3",), f"{INSTALL}, or disable them")
