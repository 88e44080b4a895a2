"""A readout of charges for a trained student, fitted on the features of its network, which stays as it is."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mlff_core.data.loader import BatchLoader
from mlff_core.data.memory import Indices
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledBatch
from mlff_core.errors import InputError
from mlff_core.model.charges import WIDTH, ChargeReadout
from mlff_core.model.derivatives import sum_over_systems
from mlff_core.model.student import Student
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.structures.dipole import dipoles
from mlff_core.structures.neighbors import edge_vectors
from mlff_core.training.domain import sampled
from mlff_core.training.loss import penalty
from mlff_core.training.settings import DataSection
from mlff_core.training.subsets import training_and_validation

MOST_ATOMS = 400_000
"""Largest number of atoms to fit on, drawn as whole structures; more hardly improve two small layers."""
STEPS = 4000
"""Steps of Adam, each with :data:`BATCH` atoms; the learning rate falls from :data:`RATE` to zero as a cosine."""
BATCH = 2048
RATE = 5e-3
DELTA = 0.05
"""Error at which the penalty changes from square to linear, e."""


def write_charges(source: Path, data: Path, target: Path, *, width: int = WIDTH, seed: int = 0) -> dict[str, float]:
    """Fit a readout of charges to the student in a model file, write it to another file, and return its errors.

    All other weights, and so energies and forces, stay the same to the bit. The errors, measured on validation
    structures, are written into the card as ``charges`` of its metrics.

    Parameters
    ----------
    source
        The model file.
    data
        Data set with charges; its split is used, or a tenth of its molecules is held out.
    target
        The file to write.
    width
        Width of the hidden layer.
    seed
        Seed of the initial weights and of the samples.

    Raises
    ------
    InputError
        The data set has no charges, or holds elements that the student does not know.
    """
    model, card = load_checkpoint(source)
    with Dataset(data) as dataset:
        if not dataset.has("charges"):
            raise InputError(f"{data} has no charges (`mlff data info` shows what it has); label it with them")
        if missing := sorted(set(dataset.elements) - set(card.elements)):
            raise InputError(f"{data} holds elements that {card.name} does not know, with atomic numbers {missing}")
        train, held_out = training_and_validation(dataset, DataSection(path=data))
        train = sampled(dataset, train, seed, MOST_ATOMS)
        fitted = fit_charges(model, dataset, train, width=width, seed=seed)
        model.charges = fitted.to(model.scale)
        found = charge_errors(model, dataset, held_out)
        about = {"data": dataset.path.name, "sha256": dataset.sha256(), "n_structures": len(held_out)}
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    card = replace(card, n_parameters=n_parameters, metrics={**card.metrics, "charges": {**found, **about}})
    save_checkpoint(target, model, card)
    return found


def fit_charges(
    model: Student, dataset: Dataset, indices: Indices, *, width: int = WIDTH, seed: int = 0
) -> ChargeReadout:
    """Return a readout fitted to the charges of a data set, in float32 on the CPU.

    Parameters
    ----------
    model
        The trained student, which is not changed.
    dataset, indices
        The data set, and the indices of the structures to fit on, shape (n_structures,), int64.
    width
        Width of the hidden layer.
    seed
        Seed of the initial weights and of the batches.
    """
    parts = [(features, charges) for _, features, charges in _features(model, dataset, indices)]
    features, charges = (torch.cat(part) for part in zip(*parts, strict=True))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        readout = ChargeReadout(model.n_features, width)
        # Each feature to mean 0 and variance 1 while fitting: the last layers of a trained network differ in size.
        mean, spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
        scaled = (features - mean) / spread
        optimizer = torch.optim.Adam(readout.parameters(), lr=RATE)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = 0.5 * RATE * (1 + math.cos(math.pi * step / STEPS))
            chosen = torch.randint(len(charges), (BATCH,), generator=generator)
            loss = penalty(readout(scaled[chosen]).squeeze(1) - charges[chosen], "huber", DELTA).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    first = readout[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight.div_(spread)
        first.bias.sub_(first.weight @ mean)
    return readout.eval()


def charge_errors(model: Student, dataset: Dataset, indices: Indices) -> dict[str, float]:
    """Return the errors of a student's charges on labelled structures.

    Keys: ``charge_mae`` and ``charge_rmse`` (e), over atoms; ``total_charge_mae`` (e), of the sum of a structure's
    charges; ``dipole_mae`` (e·Å), of components of the dipole about the centre of mass that the charges have, over
    structures that are not periodic (left out where all are).

    Parameters
    ----------
    model
        A student that gives charges.
    dataset, indices
        The data set, and the indices of the structures, shape (n_structures,), int64.
    """
    assert model.charges is not None
    readout = copy.deepcopy(model.charges).float()
    errors, totals, moments = [], [], []
    for labels, features, charges in _features(model, dataset, indices):
        batch = labels.batch
        with torch.no_grad():
            off = readout(features).squeeze(1) - charges
        errors.append(off.double())
        totals.append(sum_over_systems(off.double(), batch.system_idx, batch.n_systems))
        moments.append(dipoles(batch, off)[~batch.pbc.any(dim=1)])
    error, total, moment = (torch.cat(part) for part in (errors, totals, moments))
    found = {
        "charge_mae": float(error.abs().mean()),
        "charge_rmse": float(error.square().mean().sqrt()),
        "total_charge_mae": float(total.abs().mean()),
    }
    return {**found, "dipole_mae": float(moment.abs().mean())} if len(moment) else found


def _features(model: Student, dataset: Dataset, indices: Indices) -> Iterator[tuple[LabelledBatch, Tensor, Tensor]]:
    """Yield the labels, the features (n_atoms, F) and the charges (n_atoms,), e, of batches of structures."""
    network = copy.deepcopy(model).cpu().float().eval()
    with contextlib.closing(BatchLoader(dataset, indices, network.cutoff, seed=None).epoch(0)) as batches:
        for item in batches:
            labels = item.labels.to(dtype=torch.float32)
            vectors = edge_vectors(labels.batch, item.edges.to("cpu", torch.float32))
            with torch.no_grad():
                seen = network.seen(labels.batch.atomic_numbers, vectors, item.edges.centers, item.edges.neighbors)
            assert labels.charges is not None
            yield labels, seen[2], labels.charges
