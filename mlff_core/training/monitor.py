"""Errors of a student on held-out structures, summed batch by batch during training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from mlff_core.data.loader import TrainingBatch
from mlff_core.judging.metrics import COLUMNS, metrics_of
from mlff_core.model.derivatives import energies_gradients_charges
from mlff_core.model.student import Student
from mlff_core.structures.neighbors import edge_vectors
from mlff_core.training.kernel_step import KernelGradient
from mlff_core.training.loss import TERMS, LossConfig, Outputs, loss_sums
from mlff_core.training.loss import errors as errors_of
from mlff_core.training.step import outputs_of

METRICS = ("energy_mae_mev_per_atom", "energy_rmse_mev_per_atom", "force_mae", "force_rmse", "force_r2")
"""Metrics of :mod:`mlff_core.judging.metrics` in a validation; with stresses also ``stress_mae``, with charges
``charge_mae``."""

Reduce = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def validate(
    model: Student,
    batches: Iterable[TrainingBatch],
    config: LossConfig,
    reduce: Reduce = dict,
    *,
    by_kernel: bool = False,
) -> dict[str, float]:
    """Return the loss and the errors of a model.

    Keys: ``loss`` (of the settings), :data:`METRICS`, and ``stress_mae`` where there are stresses, as defined in
    :mod:`mlff_core.judging.metrics`; and ``charge_mae`` (e) where there are charges.

    Parameters
    ----------
    model
        The network.
    batches
        Held-out structures, on the model's device and in its precision.
    config
        The loss.
    reduce
        Sums values over the processes that share the structures.
    by_kernel
        Whether to evaluate by the CPU kernel, which is about ten times faster.
    """
    kernel = KernelGradient(model) if by_kernel else None
    sums: dict[str, Tensor] = {}
    device = next(model.parameters()).device

    def add(name: str, value: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64, device=device)) + value.double()

    for item in batches:
        labels = item.labels
        batch = labels.batch
        outputs = (
            outputs_for(model, item) if kernel is None else kernel.outputs(item, stress=labels.stress is not None)[0]
        )
        with torch.no_grad():
            for name, (total, weight) in loss_sums(outputs, labels, config).items():
                add(f"{name}_total", total)
                add(f"{name}_weight", weight)
            found = {name: error.double() for name, (error, _) in errors_of(outputs, labels).items()}
            # Sums in the columns of the metrics; on the model's device, where processes add them up.
            add("n_structures", torch.tensor(batch.n_systems))
            add("energy_abs_errors", found["energy"].abs().sum())
            add("energy_squared_errors", found["energy"].square().sum())
            add("n_atoms", torch.tensor(batch.n_atoms))
            add("abs_errors", found["forces"].abs().sum())
            add("squared_errors", found["forces"].square().sum())
            add("component_sum", labels.forces.double().sum())
            add("component_squares", labels.forces.double().square().sum())
            if "stress" in found:
                add("stress_abs_errors", found["stress"].abs().sum() / 9)
                add("n_stresses", batch.pbc.any(dim=1).sum())
            if "charges" in found:
                add("charge_abs_errors", found["charges"].abs().sum())
    return _summary({name: float(value) for name, value in reduce(sums).items()}, config)


def outputs_for(model: Student, item: TrainingBatch) -> Outputs:
    """Return the outputs of a model for a batch, without gradients for its weights."""
    labels, edges = item.labels, item.edges
    vectors = edge_vectors(labels.batch, edges)
    energies, gradients, charges = energies_gradients_charges(
        model, labels.batch.atomic_numbers, vectors, edges.centers, edges.neighbors
    )
    with torch.no_grad():
        outputs = outputs_of(energies, gradients, vectors, edges, labels, stress=labels.stress is not None)
        return replace(outputs, charges=charges)


def _summary(sums: dict[str, float], config: LossConfig) -> dict[str, float]:
    loss = 0.0
    for name in TERMS:
        if f"{name}_total" in sums:
            weight = getattr(config, f"{name}_weight")
            loss += weight * sums[f"{name}_total"] / max(sums[f"{name}_weight"], 1e-12)
    found = metrics_of([sums.get(column, 0.0) for column in COLUMNS])
    names = (*METRICS, "stress_mae") if sums.get("n_stresses") else METRICS
    metrics = {name: float(found[name]) for name in names}
    if "charge_abs_errors" in sums:
        metrics["charge_mae"] = sums["charge_abs_errors"] / sums["n_atoms"]
    return {"loss": loss, **metrics}
