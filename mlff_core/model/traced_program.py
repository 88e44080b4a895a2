"""The student's graph as an exported program with the gradient traced into it, the source of ONNX and AOTInductor."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from mlff_core.model.edge_graph import EdgeGraph

INPUTS = ("atomic_numbers", "edge_vectors", "centers", "neighbors", "system_idx")
OUTPUTS = ("energy", "atom_energies", "forces", "virial")
"""Outputs of every file."""
CHARGED_OUTPUTS = (*OUTPUTS, "charges")
"""Outputs of the file of a student that gives charges."""


def exported_program(graph: EdgeGraph) -> torch.export.ExportedProgram:
    """Return the graph with dynamic numbers of atoms, edges and systems, in the precision of its weights.

    The gradient is traced with ``make_fx`` and is from then on plain operations; numbers of systems are read from
    ``system_idx``, so they are dynamic too. A structure with an element that the model does not know gets NaN for
    all outputs: a graph cannot raise an error.
    """
    model, elements = graph.model, graph.elements
    # ONNX Runtime drops a dimension where there are no edges at all (one atom); an edge beyond the cutoff adds nothing.
    null_edge = torch.tensor([[2 * model.cutoff, 0.0, 0.0]], dtype=model.scale.dtype)

    def energies_and_gradients(
        atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, ...]:
        n_systems: Any = system_idx.max().item() + 1  # symbolic while traced
        torch._check(n_systems >= 1)
        unknown = elements(atomic_numbers)
        atomic_numbers = torch.where(unknown, elements.first, atomic_numbers)
        spoilt = torch.where(unknown, torch.nan, 0.0).to(edge_vectors.dtype)
        spoilt_systems = spoilt.new_zeros(n_systems).index_add(0, system_idx, spoilt)
        spoilt = spoilt_systems[system_idx]
        centers = torch.cat([centers, centers.new_zeros(1)])
        neighbors = torch.cat([neighbors, neighbors.new_zeros(1)])
        edge_vectors = torch.cat([edge_vectors, null_edge])
        vectors = edge_vectors.detach().requires_grad_(True)
        charges: tuple[Tensor, ...] = ()
        if graph.has_charges:
            atom_energies, given = model.energies_and_charges(atomic_numbers, vectors, centers, neighbors)
            charges = (given.detach() + spoilt,)
        else:
            atom_energies = model(atomic_numbers, vectors, centers, neighbors)
        (gradients,) = torch.autograd.grad([atom_energies.sum()], [vectors])
        atom_energies = atom_energies.detach() + spoilt
        energy = atom_energies.new_zeros(n_systems).index_add(0, system_idx, atom_energies)
        forces = spoilt.unsqueeze(1).expand(-1, 3)
        forces = forces.index_add(0, centers, gradients).index_add(0, neighbors, -gradients)
        outer = edge_vectors.unsqueeze(2) * gradients.unsqueeze(1)
        virial = gradients.new_zeros(n_systems, 3, 3).index_add(0, system_idx[centers], outer)
        virial = spoilt_systems.view(-1, 1, 1) - virial
        return energy, atom_energies, forces, virial, *charges

    inputs = _example(model.config.elements, model.scale.dtype)
    # ONNX has no operation for these backward steps, so they are decomposed into simpler ones.
    simpler = get_decompositions(
        [torch.ops.aten.silu_backward, torch.ops.aten.embedding_dense_backward, torch.ops.aten.tanh_backward]
    )
    simpler[torch.ops.aten.index_add.default] = _index_add
    simpler[torch.ops.aten.index_put.default] = _index_put
    table: Any = simpler  # all keys are operator overloads, but the type of the table is wider
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        traced = make_fx(
            energies_and_gradients, decomposition_table=table, tracing_mode="symbolic", _allow_non_fake_inputs=True
        )(*inputs)
        if model.scale.dtype == torch.float64:
            _keep_digits(traced)
        dynamic = tuple({0: torch.export.Dim.DYNAMIC} for _ in INPUTS)
        return torch.export.export(traced, inputs, dynamic_shapes=dynamic, strict=False)


def _keep_digits(traced: torch.fx.GraphModule) -> None:
    """Turn scalar factors and summands into float64 tensors.

    ONNX stores a scalar attribute in float32; a screening constant of the repulsion then had 7 digits, and forces
    deviated by 6e-8 of the largest.
    """
    arithmetic = (torch.ops.aten.mul.Tensor, torch.ops.aten.add.Tensor, torch.ops.aten.div.Tensor)
    for k, node in enumerate(list(traced.graph.nodes)):
        if node.op == "call_function" and node.target in arithmetic and isinstance(node.args[1], float):
            name = f"scalar_{k}"
            traced.register_buffer(name, torch.tensor(node.args[1], dtype=torch.float64))
            with traced.graph.inserting_before(node):
                node.update_arg(1, traced.graph.get_attr(name))
    traced.recompile()


def _index_add(target: Tensor, dim: int, index: Tensor, source: Tensor, alpha: float = 1) -> Tensor:
    """Return ``target``, shape (n, …), any unit, with ``source``, shape (m, …), added at ``index``, by ``scatter_add``.

    ``index_add`` becomes ONNX's ScatterND, whose sum ONNX Runtime splits over threads without a lock: with two threads
    forces were wrong by up to 1 %, differently at every call. ScatterElements is summed by one thread.
    """
    expanded = index.view(-1, *[1] * (source.dim() - 1)).expand_as(source)
    total: Tensor = torch.scatter_add(target, dim, expanded, source)
    return total


def _index_put(target: Tensor, indices: tuple[Tensor | None, ...], values: Tensor, accumulate: bool = False) -> Any:
    if accumulate and len(indices) == 1 and indices[0] is not None and indices[0].dim() == 1:
        return _index_add(target, 0, indices[0], values)
    return NotImplemented


def _example(elements: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return inputs to trace with: five chains of atoms 1.5 Å apart.

    No size is 0, 1 or 3, and all sizes differ; otherwise the tracer treats equal sizes as the same constant.
    """
    n_systems, n_per_system = 5, 4
    n_atoms = n_systems * n_per_system
    index = torch.arange(n_atoms)
    system_idx = index // n_per_system
    left = index[:-1][system_idx[:-1] == system_idx[1:]]
    centers = torch.cat([left, left + 1])
    neighbors = torch.cat([left + 1, left])
    order = torch.argsort(centers, stable=True)
    centers, neighbors = centers[order], neighbors[order]
    generator = torch.Generator().manual_seed(0)
    positions = torch.zeros(n_atoms, 3, dtype=dtype)
    positions[:, 0] = 1.5 * index
    positions += 0.2 * torch.rand(n_atoms, 3, generator=generator, dtype=dtype)
    numbers = torch.tensor(elements)[index % len(elements)]
    return numbers, positions[neighbors] - positions[centers], centers, neighbors, system_idx
