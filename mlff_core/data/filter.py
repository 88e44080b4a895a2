"""A new data set with the structures of another one that satisfy some rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mlff_core.atomic_write import one_writer
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledStructure
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Filter:
    """Rules that a structure must satisfy to stay in the set; a rule that is None is not applied."""

    charge: int | None = None
    """Total charge, e."""
    spin_multiplicity: int | None = None
    """2S + 1."""
    elements: tuple[int, ...] | None = None
    """Atomic numbers; structures with any other are left out."""
    max_force: float | None = None
    """Largest component of a force, eV/Å."""
    kinds: tuple[str, ...] | None = None
    """Kinds of geometry."""
    energy_window: float | None = None
    """Largest energy above the lowest of the same composition and charge in the set, eV."""

    def __post_init__(self) -> None:
        if all(value is None for value in asdict(self).values()):
            raise InputError("at least one rule is needed to filter, got none; give one, such as --charge 0")
        for name in ("max_force", "energy_window"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} must be above 0, got {value:g}")


@dataclass(frozen=True)
class Filtered:
    """Result of a filter."""

    n_structures: int
    n_before: int
    """Number of structures in the new set and in the old one."""
    left_out: dict[str, int]
    """How many structures each rule left out; a structure counts for the first rule that it breaks."""


def filter_dataset(source: str | Path, output: str | Path, rules: Filter) -> Filtered:
    """Write the structures of a data set that satisfy the rules as a new data set, with their labels and splits.

    Parameters
    ----------
    source
        The data set.
    output
        The data set to make.
    rules
        Rules that the structures must satisfy.

    Raises
    ------
    InputError
        The output is the source, a kind does not occur, labels are needed and missing, or nothing is left.
    """
    source, output = Path(source), Path(output)
    if output.exists() and output.samefile(source):
        raise InputError(f"{output} is the set to filter, and the structures left out would be lost; give another name")
    with one_writer(output), Dataset(source) as dataset:
        check_rules(dataset, rules)
        lowest = _lowest_energies(dataset) if rules.energy_window is not None else {}
        left_out: Counter[str] = Counter()

        def kept() -> Iterator[LabelledStructure]:
            for structure in dataset.structures():
                if broken := _broken_rule(structure, rules, lowest):
                    left_out[broken] += 1
                else:
                    # SMILES are restored by molecule_id.
                    yield structure if structure.molecule_id is None else replace(structure, smiles=None)

        try:
            n_structures = write_dataset(
                output,
                kept(),
                teacher=dataset.teacher,
                kinds=dataset.kinds,
                smiles=dataset.smiles,
                created={
                    "command": "filter",
                    "rules": {name: value for name, value in asdict(rules).items() if value is not None},
                    "source": {"name": source.name, "sha256": dataset.sha256(), "created": dataset.created},
                },
                license=dataset.license,
            )
        except InputError as error:
            if sum(left_out.values()) == len(dataset):
                counts = ", ".join(f"{rule} {count}" for rule, count in left_out.items())
                raise InputError(f"no structure of {source} satisfies the rules ({counts}); loosen them") from error
            raise
        return Filtered(n_structures, len(dataset), dict(left_out))


def check_rules(dataset: Dataset, rules: Filter) -> None:
    """Check that the rules can be applied to a data set.

    Raises
    ------
    InputError
        A kind does not occur, or the set lacks needed labels.
    """
    unknown = sorted(set(rules.kinds or ()) - set(dataset.kinds))
    if unknown:
        raise InputError(f"{dataset.path} has no kind {', '.join(unknown)}; its kinds are {', '.join(dataset.kinds)}")
    for rule, label in (("max_force", "forces"), ("energy_window", "energy")):
        if getattr(rules, rule) is not None and not dataset.has(label):
            raise InputError(f"{rule} needs the labels {label!r}, which {dataset.path} does not have; label it first")


def _composition(structure: LabelledStructure) -> tuple[bytes, int]:
    return np.sort(structure.atomic_numbers).tobytes(), structure.charge


def _lowest_energies(dataset: Dataset) -> dict[tuple[bytes, int], float]:
    lowest: dict[tuple[bytes, int], float] = {}
    for structure in dataset.structures():
        if structure.energy is not None:
            key = _composition(structure)
            lowest[key] = min(structure.energy, lowest.get(key, float("inf")))
    return lowest


def _broken_rule(structure: LabelledStructure, rules: Filter, lowest: dict[tuple[bytes, int], float]) -> str:
    """Return the first rule that a structure breaks, or an empty string."""
    if rules.charge is not None and structure.charge != rules.charge:
        return "charge"
    if rules.spin_multiplicity is not None and structure.spin_multiplicity != rules.spin_multiplicity:
        return "spin multiplicity"
    if rules.elements is not None and not set(structure.atomic_numbers.tolist()) <= set(rules.elements):
        return "elements"
    if rules.kinds is not None and structure.kind not in rules.kinds:
        return "kind"
    # Written so that NaN is left out too.
    if rules.max_force is not None and not float(np.abs(structure.forces).max()) <= rules.max_force:  # type: ignore[arg-type]
        return "max force"
    if rules.energy_window is not None:
        above = structure.energy - lowest[_composition(structure)]  # type: ignore[operator]
        if not above <= rules.energy_window:
            return "energy window"
    return ""
