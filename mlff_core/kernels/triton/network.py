"""The network from padded edges to energies, forces and virials: a fixed sequence of kernels and matrix products.

Nothing here waits for the GPU or reads a size from it, so the same function can run directly or in a CUDA graph.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from mlff_core.kernels.precision import tensor_cores
from mlff_core.kernels.triton.arrays import Outputs, PaddedInputs, Tiling
from mlff_core.kernels.triton.jit import edges as edge_kernels
from mlff_core.kernels.triton.jit import message as message_kernels
from mlff_core.kernels.triton.jit import node as node_kernels
from mlff_core.kernels.triton.launch import interpreted, launch, next_power_of_2
from mlff_core.kernels.triton.parameters import Layer, Parameters
from mlff_core.kernels.triton.sums import sum_systems
from mlff_core.model.charges import bounded
from mlff_core.model.distance_floor import CORE_WIDTH
from mlff_core.model.painn import SMOOTHING


def matmul_precision(parameters: Parameters) -> AbstractContextManager[None]:
    """Return a context in which float32 products use tensor cores, if features are stored in float16 on a GPU."""
    return tensor_cores(parameters.storage != parameters.dtype and parameters.embedding.device.type == "cuda")


def evaluate(
    parameters: Parameters,
    inputs: PaddedInputs,
    *,
    derivatives: bool,
    virial: bool,
    charges: bool = False,
    tiling: Tiling | None = None,
) -> Outputs:
    """Return energies, and forces, virials and charges if they are wanted.

    Parameters
    ----------
    parameters
        The network.
    inputs
        Structures and their neighbours.
    derivatives
        Compute forces.
    virial
        Compute the virials too.
    charges
        Compute the charges too.
    tiling
        Division of the work; None uses the default for the size.
    """
    with matmul_precision(parameters):
        return _Evaluation(parameters, inputs, tiling).run(derivatives=derivatives, virial=virial, charges=charges)


@dataclass(slots=True)
class _Kept:
    """Intermediate results of a layer's forward pass that its backward pass needs."""

    phi: Tensor
    phi_hidden: Tensor | None
    v_gathered: Tensor | None
    mixed: Tensor
    joined: Tensor
    gates_hidden: Tensor
    gates: Tensor


class _Evaluation:
    def __init__(self, parameters: Parameters, inputs: PaddedInputs, tiling: Tiling | None) -> None:
        config = parameters.config
        self.parameters, self.inputs = parameters, inputs
        self.hidden = config.hidden
        self.n_atoms, self.capacity = inputs.candidates.shape
        self.dtype, self.device = parameters.dtype, inputs.positions.device
        self.stores = parameters.storage != parameters.dtype
        self.tiling = tiling or Tiling.suitable(self.n_atoms, config.hidden)
        self.n_blocks = -(-config.hidden // self.tiling.channels)
        self.block_f = next_power_of_2(config.hidden)
        # Three products in tf32 have together the accuracy of float32.
        precision = "tf32" if self.stores else "tf32x3" if self.dtype == torch.float32 else "ieee"
        self.message_constants = {
            "HIDDEN": config.hidden,
            "CUTOFF": config.cutoff,
            "N_RADIAL": config.n_radial,
            "GAUSSIAN": config.radial_basis == "gaussian",
            "DOUBLE": self.dtype == torch.float64,
            "PRECISION": precision,
            "BLOCK_M": self.tiling.edges,
            "BLOCK_F": self.tiling.channels,
            "BLOCK_K": parameters.n_basis,
            "ATOMS": self.tiling.atoms,
            "num_warps": self.tiling.warps,
        }
        self.message_grid = (-(-self.n_atoms // self.tiling.atoms), self.n_blocks)
        self.rows = 256 if interpreted() else 1 if self.block_f >= 64 else 2
        self.node_grid = (-(-self.n_atoms // self.rows),)
        self.block_slots = 64 if interpreted() else 32

    def _empty(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or self.dtype, device=self.device)

    def run(self, *, derivatives: bool, virial: bool, charges: bool) -> Outputs:
        self._pack()
        s, kept = self._forward()
        found = self._charges(s) if charges else None
        learned, g_s = self._read_out(s)
        inputs = self.inputs
        atom_energies = learned.double() + self.repulsion.double()
        atom_energies += self.parameters.reference_energies[inputs.species]
        n_systems = inputs.cell.shape[0]
        starts = torch.searchsorted(
            inputs.system_idx, torch.arange(n_systems + 1, device=self.device, dtype=inputs.system_idx.dtype)
        )
        energy = sum_systems(atom_energies.unsqueeze(1), starts, inputs.largest).squeeze(1)
        forces = total = None
        if derivatives:
            forces, virials = self._collect(self._backward(g_s, kept))
            if virial:
                total = sum_systems(virials, starts, inputs.largest).view(-1, 3, 3)
        return Outputs(energy, atom_energies, self.closest, forces, total, found)

    def _pack(self) -> None:
        inputs, zbl = self.inputs, self.parameters
        n, capacity = self.n_atoms, self.capacity
        self.neighbors = self._empty(n, capacity, dtype=torch.int32)
        # Direction, distance, the distance used by the filters, and its derivative.
        self.geometry = self._empty(n, 6, capacity)
        self.counts = self._empty(n, dtype=torch.int32)
        self.places = self._empty(n, capacity, dtype=torch.int32)
        self.closest, self.repulsion = self._empty(n), self._empty(n)
        launch(
            edge_kernels.pack_edges, (n,),
            inputs.positions, inputs.species, inputs.cell, inputs.system_idx,
            inputs.candidates, inputs.shifts, inputs.n_candidates, zbl.screening, zbl.ranges, zbl.prefactors,
            self.neighbors, self.geometry, self.counts, self.places, self.closest, self.repulsion, capacity,
            N_SPECIES=len(zbl.config.elements), CUTOFF=zbl.config.cutoff, CORE=zbl.config.core, CORE_WIDTH=CORE_WIDTH,
            BLOCK=self.block_slots, num_warps=1,
        )  # fmt: skip

    def _forward(self) -> tuple[Tensor, list[_Kept]]:
        species, f = self.inputs.species, self.hidden
        s = self.parameters.embedding[species]
        phi, phi_hidden = self.parameters.first_phi[species], None
        v: Tensor | None = None
        v_gathered: Tensor | None = None
        kept = []
        for k, layer in enumerate(self.parameters.layers):
            if k > 0:
                phi, phi_hidden = self._phi(layer, s)
            s, v = self._send(layer, phi, s, v, v_gathered)
            mixed = torch.mm(v.view(-1, f), layer.mix.T).view(-1, 3, 2 * f)
            joined = self._empty(self.n_atoms, 2 * f)
            launch(
                node_kernels.update_enter, self.node_grid, mixed, s, joined, self.n_atoms,
                HIDDEN=f, BLOCK_F=self.block_f, ROWS=self.rows, SMOOTHING=SMOOTHING, num_warps=1,
            )  # fmt: skip
            first, first_bias, second, second_bias = layer.gates
            gates_hidden = torch.addmm(first_bias, joined, first.T)
            gates = torch.addmm(second_bias, torch.nn.functional.silu(gates_hidden), second.T)
            kept.append(_Kept(phi, phi_hidden, v_gathered, mixed, joined, gates_hidden, gates))
            s, v, v_gathered = self._leave(layer, mixed, s, v, gates)
        return s, kept

    def _phi(self, layer: Layer, s: Tensor) -> tuple[Tensor, Tensor]:
        first, first_bias, second, second_bias = layer.phi
        hidden = torch.addmm(first_bias, s, first.T)
        return torch.addmm(second_bias, torch.nn.functional.silu(hidden).to(second.dtype), second.T), hidden

    def _send(
        self, layer: Layer, phi: Tensor, s: Tensor, v: Tensor | None, v_gathered: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        s_out, v_out = torch.empty_like(s), self._empty(self.n_atoms, 3, self.hidden)
        launch(
            message_kernels.message_forward, self.message_grid,
            self.neighbors, self.geometry, self.counts, phi, phi if v_gathered is None else v_gathered,
            s, s if v is None else v, s_out, v_out, layer.filters, self.n_atoms, self.capacity,
            N_PHI=phi.shape[1], N_FILTERS=layer.filters.shape[1], READS_VECTORS=layer.reads_vectors,
            **self.message_constants,
        )  # fmt: skip
        return s_out, v_out

    def _leave(
        self, layer: Layer, mixed: Tensor, s: Tensor, v: Tensor, gates: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        s_out = torch.empty_like(s)
        v_out = torch.empty_like(v) if layer.writes_vectors else v
        stored = torch.empty_like(v_out, dtype=self.parameters.storage) if self.stores else v_out
        launch(
            node_kernels.update_leave, self.node_grid, mixed, s, v, gates, s_out, v_out, stored, self.n_atoms,
            HIDDEN=self.hidden, BLOCK_F=self.block_f, ROWS=self.rows,
            WRITES_VECTORS=layer.writes_vectors, STORES=self.stores, num_warps=1,
        )  # fmt: skip
        return (s_out, v_out, stored) if layer.writes_vectors else (s_out, None, None)

    def _read_out(self, s: Tensor) -> tuple[Tensor, Tensor]:
        first, first_bias, second, second_bias = self.parameters.readout
        hidden = torch.addmm(first_bias, s, first.T)
        energies, g_hidden = self._empty(self.n_atoms), torch.empty_like(hidden)
        scale, bounds = self.parameters.scale, self.parameters.saturation
        lowest, highest, width = bounds or (scale, scale, scale)
        launch(
            node_kernels.read_out, self.node_grid,
            hidden, second, second_bias, scale, self.inputs.species, lowest, highest, width,
            energies, g_hidden, self.n_atoms,
            WIDTH=hidden.shape[1], BLOCK_W=next_power_of_2(hidden.shape[1]), ROWS=self.rows,
            SATURATES=bounds is not None, num_warps=1,
        )  # fmt: skip
        return energies, torch.mm(g_hidden, first)

    def _charges(self, s: Tensor) -> Tensor:
        assert self.parameters.charge_readout is not None, "charges are wanted of students that give them"
        first, first_bias, second, second_bias = self.parameters.charge_readout
        hidden = torch.nn.functional.silu(torch.addmm(first_bias, s, first.T))
        return bounded(torch.addmm(second_bias, hidden, second.T).squeeze(1))

    def _backward(self, g_s: Tensor, kept: list[_Kept]) -> Tensor:
        """Return the gradients of the edges, shape (n_blocks, n_atoms, 3, capacity), eV/Å."""
        n, f = self.n_atoms, self.hidden
        g_edges = self._empty(self.n_blocks, n, 3, self.capacity)
        g_v: Tensor | None = None
        for k in reversed(range(len(kept))):
            layer, was = self.parameters.layers[k], kept[k]
            g_s, g_v = self._update_backward(layer, was, g_s, g_v)
            g_s_gathered, g_v_gathered = self._gathered(g_s, g_v)
            g_phi = self._empty(n, 3 * f) if layer.reads_vectors else g_s
            g_v_out = self._empty(n, 3, f) if layer.reads_vectors else g_v
            launch(
                message_kernels.message_backward, self.message_grid,
                self.neighbors, self.geometry, self.counts,
                was.phi, was.phi if was.v_gathered is None else was.v_gathered,
                g_s_gathered, g_v_gathered, g_v, g_phi, g_v_out, g_edges, layer.filters, n, self.capacity,
                N_PHI=was.phi.shape[1], N_FILTERS=layer.filters.shape[1], READS_VECTORS=layer.reads_vectors,
                ACCUMULATE=k < len(kept) - 1, **self.message_constants,
            )  # fmt: skip
            if was.phi_hidden is not None:
                first, _, second, _ = layer.phi
                g_hidden = torch.mm(g_phi, second.to(self.dtype))
                g_hidden = torch.ops.aten.silu_backward(g_hidden, was.phi_hidden)
                g_s = torch.addmm(g_s, g_hidden, first)
            g_v = g_v_out
        return g_edges

    def _gathered(self, g_s: Tensor, g_v: Tensor) -> tuple[Tensor, Tensor]:
        storage = self.parameters.storage
        return (self.g_s_stored, g_v.to(storage)) if self.stores else (g_s, g_v)

    def _update_backward(self, layer: Layer, was: _Kept, g_s: Tensor, g_v: Tensor | None) -> tuple[Tensor, Tensor]:
        n, f = self.n_atoms, self.hidden
        g_gates = torch.empty_like(was.gates)
        incoming = g_s if g_v is None else g_v
        constants = {
            "HIDDEN": f,
            "BLOCK_F": self.block_f,
            "ROWS": self.rows,
            "WRITES_VECTORS": layer.writes_vectors,
            "num_warps": 1,
        }
        launch(node_kernels.gates_backward, self.node_grid, was.mixed, g_s, incoming, g_gates, n, **constants)
        first, _, second, _ = layer.gates
        g_hidden = torch.ops.aten.silu_backward(torch.mm(g_gates, second), was.gates_hidden)
        g_joined = torch.mm(g_hidden, first)
        g_s_out, g_mixed = torch.empty_like(g_s), torch.empty_like(was.mixed)
        self.g_s_stored = torch.empty_like(g_s, dtype=self.parameters.storage) if self.stores else g_s_out
        launch(
            node_kernels.mixed_backward, self.node_grid,
            was.mixed, was.joined, was.gates, g_joined, g_s, incoming, g_s_out, self.g_s_stored, g_mixed, n,
            STORES=self.stores, **constants,
        )  # fmt: skip
        flat = g_mixed.view(-1, 2 * f)
        g_v_out = torch.mm(flat, layer.mix) if g_v is None else torch.addmm(g_v.view(-1, f), flat, layer.mix)
        return g_s_out, g_v_out.view(n, 3, f)

    def _collect(self, g_edges: Tensor) -> tuple[Tensor, Tensor]:
        inputs, zbl = self.inputs, self.parameters
        forces, virials = self._empty(self.n_atoms, 3), self._empty(self.n_atoms, 9)
        launch(
            edge_kernels.collect_forces, (self.n_atoms,),
            inputs.species, inputs.candidates, inputs.reverse, self.places, self.geometry, inputs.n_candidates, g_edges,
            zbl.screening, zbl.ranges, zbl.prefactors, forces, virials, self.capacity,
            N_SPECIES=len(zbl.config.elements), N_BLOCKS=self.n_blocks, BLOCK=self.block_slots, num_warps=1,
        )  # fmt: skip
        return forces, virials
