"""One training step: the gradient of the loss in the weights, computed in one of four ways.

All use energies e_i and the gradients g_e = ∂E/∂d_e in the edge vectors; forces and stress are sums of these.

``double-backward`` differentiates the first derivative by autograd.

``compiled`` traces energy and gradients into one graph (``make_fx``), which torch.compile fuses with its
derivative. The numbers are the same; compiling costs minutes once per run.

``finite-difference`` needs first derivatives only. With a = ∂L/∂e and u = ∂L/∂g held fixed,
∇_θ L = Σ_i a_i ∇_θ e_i + ∇_θ (u·∂E/∂d), and the directional derivative is a central difference of ∇_θ E at d ± εu:
∇_θ L ≈ ∇_θ Σ_i [(a_i/2 + 1/2ε) e_i(d + εu) + (a_i/2 − 1/2ε) e_i(d − εu)], with an error of order ε².

Rows of Hessians (``hessian_weight``) are finite differences of the student's forces on displaced copies of its
structures, which follow the structures in the same batch.

``kernel`` is also a finite difference, by the fused CPU kernel; see :mod:`mlff_core.training.kernel_step`.

``auto`` is ``kernel`` if it is available, otherwise ``double-backward``; see :func:`step_kind`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mlff_core.data.hessian import displaced_copies, products, rows_of_atoms
from mlff_core.data.loader import TrainingBatch
from mlff_core.data.structure import LabelledBatch
from mlff_core.errors import UnsupportedError
from mlff_core.kernels.build import BuildError
from mlff_core.model.derivatives import (
    energies_and_edge_gradients,
    energies_gradients_charges,
    forces_from_edge_gradients,
    sum_over_systems,
    virial_from_edge_gradients,
)
from mlff_core.model.student import Student
from mlff_core.structures.neighbors import EdgeList, edge_vectors
from mlff_core.structures.stress import stress_from_virial
from mlff_core.training.kernel_step import KernelGradient
from mlff_core.training.loss import LossConfig, Outputs, loss_sums
from mlff_core.training.settings import StepKind

Evaluate = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(atomic_numbers, edge_vectors, centers, neighbors) → (atom energies in eV, gradients in eV/Å)."""
LARGEST_DISPLACEMENT = 3e-3
"""Largest change of an edge vector's component in a finite difference, Å."""


def outputs_of(
    atom_energies: Tensor, gradients: Tensor, vectors: Tensor, edges: EdgeList, labels: LabelledBatch, *, stress: bool
) -> Outputs:
    """Return the outputs that the loss uses.

    Parameters
    ----------
    atom_energies
        Shape (n_atoms,), eV.
    gradients
        ∂E/∂d of each edge, shape (n_edges, 3), eV/Å.
    vectors
        Shape (n_edges, 3), Å.
    edges, labels
        The batch.
    stress
        Whether to compute the stress too.
    """
    batch = labels.batch
    sigma = None
    if stress:
        virial = virial_from_edge_gradients(vectors, gradients, edges.centers, batch.system_idx, batch.n_systems)
        # Systems without a cell get a unit cell: their stress has weight zero, and must not be 0/0.
        eye = torch.eye(3, dtype=batch.dtype, device=batch.device)
        sigma = stress_from_virial(virial, torch.where(batch.pbc.all(dim=1)[:, None, None], batch.cell, eye))
    return Outputs(
        energy=sum_over_systems(atom_energies, batch.system_idx, batch.n_systems),
        forces=forces_from_edge_gradients(gradients, edges.centers, edges.neighbors, batch.n_atoms),
        stress=sigma,
        atom_energies=atom_energies,
    )


def step_kind(wanted: StepKind, model: Student, precision: str) -> tuple[StepKind, str]:
    """Return the kind of step of a setting, and the reason why ``"auto"`` on a CPU cannot use the kernel, or "".

    Parameters
    ----------
    wanted
        The setting ``step``.
    model
        The network, on its device and in its precision.
    precision
        The setting ``precision``: the kernel does not support bf16.
    """
    if wanted != "auto":
        return wanted, ""
    if model.scale.device.type != "cpu" or precision not in ("float32", "float64"):
        return "double-backward", ""
    try:
        KernelGradient(model)
    except (BuildError, UnsupportedError) as error:
        return "double-backward", str(error)
    return "kernel", ""


class GradientStep:
    """Adds the gradient of a batch's loss to the weights' ``grad``.

    Parameters
    ----------
    model
        The network.
    config
        The loss.
    kind
        ``"double-backward"``, ``"compiled"``, ``"finite-difference"`` or ``"kernel"``.
    autocast
        Returns the context in which the network is evaluated.
    """

    def __init__(
        self,
        model: Student,
        config: LossConfig,
        kind: str,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.model = model
        self.config = config
        self.kind = kind
        self.autocast = autocast
        self._compiled: Evaluate | None = None
        self._kernel = KernelGradient(model) if kind == "kernel" else None

    def __call__(
        self, item: TrainingBatch, reduce_weights: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the loss ``"loss"`` and its terms, each of shape (), after adding their gradient.

        Parameters
        ----------
        item
            This process's share of the batch.
        reduce_weights
            Sums the weights of the terms over all processes.
        """
        stress = self.config.stress_weight > 0 and item.labels.stress is not None
        labels = item.labels
        if self.config.hessian_weight > 0 and labels.hessian is not None:
            batch, edges = displaced_copies(labels.batch, item.edges, labels.hessian)
            item = TrainingBatch(replace(labels, batch=batch), edges, item.position)
        if self._kernel is not None:
            self._kernel.refresh()
            outputs, leaves = self._kernel.outputs(item, stress=stress)
            terms = self._terms(_with_rows(outputs, labels), labels, reduce_weights)
            # If the loss is not finite the run ends with an error; displacements would not be finite.
            if torch.isfinite(terms["loss"]):
                self._kernel.add_gradient(item, _gradients(terms["loss"], leaves))
            return {name: term.detach() for name, term in terms.items()}
        batch, edges = item.labels.batch, item.edges
        vectors = edge_vectors(batch, edges)
        first_order = self.kind == "finite-difference"
        with self.autocast():
            energies, gradients, charges = self._evaluate(batch.atomic_numbers, vectors, edges, first_order)
        if first_order:
            energies, gradients = energies.detach().requires_grad_(), gradients.detach().requires_grad_()
        outputs = outputs_of(energies, gradients, vectors, edges, item.labels, stress=stress)
        outputs = replace(outputs, charges=charges)
        terms = self._terms(_with_rows(outputs, labels), labels, reduce_weights)
        if first_order:
            a, u = _gradients(terms["loss"], [energies, gradients])
            self._central_difference(batch.atomic_numbers, vectors.detach(), edges, a, u)
        else:
            terms["loss"].backward()
        return {name: term.detach() for name, term in terms.items()}

    def _terms(
        self,
        outputs: Outputs,
        labels: LabelledBatch,
        reduce_weights: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Return the loss and its terms, each of shape (), before differentiation."""
        sums = loss_sums(outputs, labels, self.config)
        weights = reduce_weights({name: weight.detach() for name, (_, weight) in sums.items()})
        terms = {name: total / weights[name].clamp(min=1e-12) for name, (total, _) in sums.items()}
        loss = sum(getattr(self.config, f"{name}_weight") * term for name, term in terms.items())
        assert isinstance(loss, Tensor)
        return {"loss": loss, **terms}

    def _evaluate(
        self, numbers: Tensor, vectors: Tensor, edges: EdgeList, first_order: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return energies, gradients, and charges that can be differentiated, for a step of second order."""
        if self.kind == "compiled" and edges.n_edges > 1:  # a graph without edges is not worth compiling
            if self._compiled is None:
                self._compiled = compiled_evaluation(self.model)
            return *self._compiled(numbers, vectors, edges.centers, edges.neighbors), None
        inputs = numbers, vectors, edges.centers, edges.neighbors
        if first_order:
            return *energies_and_edge_gradients(self.model, *inputs), None
        inputs = numbers, vectors.detach().requires_grad_(), edges.centers, edges.neighbors
        return energies_gradients_charges(self.model, *inputs, create_graph=True)

    def _central_difference(self, numbers: Tensor, vectors: Tensor, edges: EdgeList, a: Tensor, u: Tensor) -> None:
        """Add ∇_θ L from a = ∂L/∂e, shape (n_atoms,), and u = ∂L/∂g, shape (n_edges, 3), of the loss L."""
        longest = float(u.abs().max()) if u.numel() else 0.0
        if longest == 0.0:
            with self.autocast():
                (self.model(numbers, vectors, edges.centers, edges.neighbors) * a).sum().backward()
            return
        epsilon = LARGEST_DISPLACEMENT / longest
        for sign in (1.0, -1.0):
            with self.autocast():
                shifted = self.model(numbers, vectors + sign * epsilon * u, edges.centers, edges.neighbors)
            (shifted * (0.5 * a + sign * 0.5 / epsilon)).sum().backward()


def _with_rows(outputs: Outputs, labels: LabelledBatch) -> Outputs:
    """Return the outputs of the labelled structures, with the rows of Hessians computed from the copies after them."""
    n_systems, n_atoms = labels.batch.n_systems, labels.batch.n_atoms
    if labels.hessian is None or len(outputs.energy) == n_systems:
        return outputs
    rows = labels.hessian
    return Outputs(
        energy=outputs.energy[:n_systems],
        forces=outputs.forces[:n_atoms],
        stress=None if outputs.stress is None else outputs.stress[:n_systems],
        atom_energies=outputs.atom_energies[:n_atoms],
        hessian=products(outputs.forces[n_atoms:], rows, rows_of_atoms(labels.batch, rows)),
        charges=None if outputs.charges is None else outputs.charges[:n_atoms],
    )


def _gradients(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Return the derivative of the loss in each leaf, zero if the loss does not depend on it."""
    return list(torch.autograd.grad([loss], leaves, allow_unused=True, materialize_grads=True))


def compiled_evaluation(model: Student) -> Evaluate:
    """Return a compiled function for energies and gradients, differentiable in the weights.

    torch.compile cannot differentiate a function twice; so the first derivative is traced into the graph, and the
    compiled graph is differentiated once. The numbers of atoms and edges may change from call to call.

    Parameters
    ----------
    model
        The network; its parameters are not copied.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    first = next(model.parameters())
    # The tracer treats equal sizes as the same size: these differ from every width of a network.
    n_atoms, n_edges = 1_009, 4_001
    centers = torch.arange(n_edges, device=first.device) % n_atoms
    vectors = torch.linspace(1.0, 2.0, 3 * n_edges, dtype=first.dtype, device=first.device).view(n_edges, 3)
    numbers = torch.full((n_atoms,), model.config.elements[0], device=first.device)

    names = [name for name, _ in model.named_parameters()]

    def evaluate(
        parameters: list[Tensor], numbers: Tensor, vectors: Tensor, centers: Tensor, neighbors: Tensor
    ) -> tuple[Tensor, Tensor]:
        vectors = vectors.detach().requires_grad_()
        energies = torch.func.functional_call(
            model, dict(zip(names, parameters, strict=True)), (numbers, vectors, centers, neighbors)
        )
        (gradients,) = torch.autograd.grad([energies.sum()], [vectors], create_graph=True)
        return energies, gradients

    sample = [parameter.detach().requires_grad_() for parameter in model.parameters()]
    graph = make_fx(evaluate, tracing_mode="symbolic", _allow_non_fake_inputs=True)(
        sample, numbers, vectors, centers, centers.flip(0)
    )
    # The tracer marks saved tensors by `detach`, which would remove the second derivative.
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()
    compiled = torch.compile(graph, dynamic=True)

    def call(numbers: Tensor, vectors: Tensor, centers: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor]:
        energies, gradients = compiled(list(model.parameters()), numbers, vectors.detach(), centers, neighbors)
        return energies, gradients

    return call
