"""The student a run starts from: a new one with fitted reference energies, or a trained one."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import numpy as np
import torch
from ase.data import chemical_symbols

from mlff_core.data.edges import find_edges
from mlff_core.data.memory import Indices, pieces
from mlff_core.data.reader import Dataset
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.model.charges import ChargeReadout
from mlff_core.model.derivatives import sum_over_systems
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import preset
from mlff_core.model.student import Student
from mlff_core.models.checkpoint import file_sha256, load_checkpoint
from mlff_core.models.registry import resolve
from mlff_core.structures.neighbors import edge_vectors
from mlff_core.training.reference import composition, fit_reference_energies, fit_scale, reference_tensor
from mlff_core.training.settings import ModelSection

INITIAL_READOUT = 0.1
"""Factor on the last layer's weights of a new network."""
MOST_FITTED = 50_000
"""Number of structures, evenly spaced, to which reference energies are fitted."""


def starting_model(
    section: ModelSection, dataset: Dataset, train: Indices, seed: int, others: tuple[Dataset, ...] = ()
) -> tuple[Student, str]:
    """Return the network, on the CPU in float32, and the SHA-256 of the model file it comes from ("" if new).

    Parameters
    ----------
    section
        Settings of the network.
    dataset
        Training set.
    train
        Indices of the structures for fitting reference energies, shape (n,).
    seed
        Seed of a new network's weights.
    others
        Further data sets whose elements it must support.

    Raises
    ------
    InputError
        The data hold elements that the network does not support, or settings of the network differ from its file.
    UnsupportedError
        The data hold open shells, which a student does not support.
    CheckpointError
        ``init_from`` is not a model file.
    """
    elements = tuple(sorted({number for each in (dataset, *others) for number in each.elements}))
    for each in (dataset, *others):
        _check_closed_shell(each)
    if section.init_from is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: Student = PaiNN(section.painn(elements))
        with torch.no_grad():
            # A network that starts near zero learns at once; one that starts with random forces must first remove them.
            for weight in model.readout[-1].parameters():
                weight.mul_(INITIAL_READOUT)
        parent = ""
    else:
        path = resolve(section.init_from)
        model, _ = load_checkpoint(path)
        _check_network(section, model.config)
        model, parent = model.float(), file_sha256(path)
        if section.core is not None:
            weights = model.state_dict()
            model = model.with_config(replace(model.config, core=section.core))
            model.load_state_dict(weights)
    _check_elements(model, elements, dataset)
    some = train[:: max(1, len(train) // MOST_FITTED)]
    if section.init_from is None:
        counts = composition(dataset, some, model.config.elements)
        model.reference_energies = reference_tensor(fit_reference_energies(counts, dataset.energy_of(some)))
        model.scale.fill_(fit_scale(dataset, train))
    elif section.reference == "fit":
        some = train[:: max(1, len(train) // 1000)]
        counts = composition(dataset, some, model.config.elements)
        missing = dataset.energy_of(some) - _energies(model, dataset, some)
        # Elements that do not occur keep their energy: the least-norm correction for them is zero.
        shift = np.linalg.lstsq(counts, missing, rcond=1e-8)[0]
        model.reference_energies = model.reference_energies + reference_tensor(shift)
    return model.train().requires_grad_(True), parent


def with_charges(model: Student, learns: bool, seed: int) -> bool:
    """Give a network the readout of charges that a loss needs; return whether it lost one that no loss trains.

    Parameters
    ----------
    model
        The network.
    learns
        Whether the loss depends on charges.
    seed
        Seed of a new readout's weights.
    """
    if not learns:
        had, model.charges = model.charges is not None, None
        return had
    if model.charges is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.charges = ChargeReadout(model.n_features).to(model.scale)
        model.charges.train()
    return False


def _energies(model: Student, dataset: Dataset, indices: Indices) -> np.ndarray:
    found = []
    with torch.no_grad():
        for piece in pieces(dataset, indices):
            for part in np.array_split(piece, max(1, len(piece) // 32)):
                batch = dataset.read(part).batch
                edges = find_edges(batch, model.cutoff)
                atoms = model(batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors)
                found.append(sum_over_systems(atoms, batch.system_idx, batch.n_systems).numpy())
    return np.concatenate(found)


def _check_network(section: ModelSection, held: PaiNNConfig) -> None:
    """Check that settings of the network agree with ``init_from``; only the core can be changed."""

    def refuse(name: str, value: object, found: str) -> NoReturn:
        raise InputError(
            f"model.{name} = {value!r}, but {section.init_from} has {found}; model.init_from decides the network: "
            f"leave model.{name} out, or train a new one without init_from"
        )

    said = {name: value for name, value in section.changes().items() if name != "core"}
    for name, value in said.items():
        if value != getattr(held, name):
            refuse(name, value, f"{name} = {getattr(held, name)!r}")
    if section.elements and section.painn(()).elements != held.elements:
        refuse("elements", list(section.elements), f"elements = {[chemical_symbols[z] for z in held.elements]!r}")
    if section.preset is not None:
        for name, value in preset(section.preset).__dict__.items():
            if name not in ("elements", "core", *said) and value != getattr(held, name):
                refuse("preset", section.preset, f"{name} = {getattr(held, name)!r}, not {value!r}")


def _check_elements(model: Student, elements: tuple[int, ...], dataset: Dataset) -> None:
    missing = [chemical_symbols[number] for number in elements if number not in model.config.elements]
    if missing:
        known = ", ".join(chemical_symbols[number] for number in model.config.elements)
        raise InputError(
            f"{dataset.path} or its replay holds {', '.join(missing)}, but the model supports {known}; "
            "add them to model.elements, or start from another model"
        )


def has_charges(dataset: Dataset) -> bool:
    """Return whether a structure of a data set has a total charge other than 0."""
    return dataset.has("charge") and bool((dataset.column("charge", 0, len(dataset)) != 0).any())


def _check_closed_shell(dataset: Dataset) -> None:
    """Refuse multiplicities other than 1, and ions with an odd number of electrons, which a student cannot tell."""
    n_structures = len(dataset)
    if dataset.has("spin_multiplicity") and (dataset.column("spin_multiplicity", 0, n_structures) != 1).any():
        raise UnsupportedError(
            f"{dataset.path} holds open-shell structures, which a student does not support; leave them out: "
            "`mlff data filter IN OUT --spin-multiplicity 1`"
        )
    if not has_charges(dataset):
        return
    for start, stop in dataset.blocks():
        numbers = dataset.column("atomic_numbers", start, stop).astype(np.int64)
        charges = dataset.column("charge", start, stop)
        electrons = np.add.reduceat(numbers, dataset.offsets[start:stop] - dataset.offsets[start]) - charges
        odd = np.flatnonzero((electrons % 2 != 0) & (charges != 0))
        if len(odd):
            k = int(odd[0])
            raise UnsupportedError(
                f"structure {start + k} of {dataset.path} has {electrons[k]} electrons at a charge of {charges[k]:+d} "
                "e, an odd number; a student knows ions by their structure, so they must be closed shells: correct "
                "the charge, or leave ions out: `mlff data filter IN OUT --charge 0`"
            )
