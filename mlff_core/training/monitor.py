"""Errors of a student on held-out structures, summed up batch by batch while it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mlff_core.data.loader import TrainingBatch
from mlff_core.model.derivatives import energies_and_edge_gradients
from mlff_core.model.student import Student
from mlff_core.structures.neighbors import edge_vectors
from mlff_core.training.kernel_step import KernelGradient
from mlff_core.training.loss import LossConfig, Outputs, loss_sums
from mlff_core.training.loss import errors as errors_of
from mlff_core.training.step import outputs_of

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

    Keys: ``loss`` (of the settings), ``energy_mae_mev_per_atom``, ``energy_rmse_mev_per_atom``, ``force_mae`` and
    ``force_rmse`` (eV/Å, by component), ``force_r2`` (1 − Σ(F − F̂)²/Σ(F̂ − mean)², by component), and ``stress_mae``
    (eV/Å³) where there are stresses.

    Parameters
    ----------
    model
        The network.
    batches
        Held-out structures, on the model's device and in its precision.
    config
        The loss.
    reduce
        Adds up sums over the processes that share the structures.
    by_kernel
        Evaluate by the CPU kernel, which is some ten times faster.
    """
    kernel = KernelGradient(model) if by_kernel else None
    sums: dict[str, Tensor] = {}
    device = next(model.parameters()).device

    def add(name: str, value: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64, device=device)) + value.double()

    for item in batches:
        labels = item.labels
        batch = labels.batch
        outputs = _outputs(model, item) if kernel is None else kernel.outputs(item, stress=labels.stress is not None)[0]
        with torch.no_grad():
            for name, (total, weight) in loss_sums(outputs, labels, config).items():
                add(f"{name}_total", total)
                add(f"{name}_weight", weight)
            found = {name: error.double() for name, (error, _) in errors_of(outputs, labels).items()}
            add("n_systems", torch.tensor(batch.n_systems))
            add("energy_abs", found["energy"].abs().sum())
            add("energy_square", found["energy"].square().sum())
            add("n_components", torch.tensor(found["forces"].numel()))
            add("force_abs", found["forces"].abs().sum())
            add("force_square", found["forces"].square().sum())
            add("label_sum", labels.forces.double().sum())
            add("label_square", labels.forces.double().square().sum())
            if "stress" in found:
                add("stress_abs", found["stress"].abs().sum())
                add("n_stress", 9 * batch.pbc.any(dim=1).sum())
    return _summary({name: float(value) for name, value in reduce(sums).items()}, config)


def _outputs(model: Student, item: TrainingBatch) -> Outputs:
    labels, edges = item.labels, item.edges
    vectors = edge_vectors(labels.batch, edges)
    energies, slopes = energies_and_edge_gradients(
        model, labels.batch.atomic_numbers, vectors, edges.centers, edges.neighbors
    )
    with torch.no_grad():
        return outputs_of(energies, slopes, vectors, edges, labels, stress=labels.stress is not None)


def _summary(sums: dict[str, float], config: LossConfig) -> dict[str, float]:
    loss = 0.0
    for name in ("energy", "forces", "stress", "atom_energies"):
        if f"{name}_total" in sums:
            weight = getattr(config, f"{name}_weight")
            loss += weight * sums[f"{name}_total"] / max(sums[f"{name}_weight"], 1e-12)
    n_systems, n_components = sums["n_systems"], sums["n_components"]
    variance = sums["label_square"] - sums["label_sum"] ** 2 / n_components
    metrics = {
        "loss": loss,
        "energy_mae_mev_per_atom": 1e3 * sums["energy_abs"] / n_systems,
        "energy_rmse_mev_per_atom": 1e3 * math.sqrt(sums["energy_square"] / n_systems),
        "force_mae": sums["force_abs"] / n_components,
        "force_rmse": math.sqrt(sums["force_square"] / n_components),
        "force_r2": 1.0 - sums["force_square"] / variance if variance > 0 else math.nan,
    }
    if sums.get("n_stress"):
        metrics["stress_mae"] = sums["stress_abs"] / sums["n_stress"]
    return metrics
