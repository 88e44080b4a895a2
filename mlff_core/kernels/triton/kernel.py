"""The kernels ``triton`` and ``triton-fast``, which evaluate a student on a GPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

import torch
from torch import Tensor

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.kernels.triton.arrays import Outputs, PaddedInputs, Tiling
from mlff_core.kernels.triton.cuda_graph import Graph
from mlff_core.kernels.triton.launch import check_device, interpreted
from mlff_core.kernels.triton.network import evaluate
from mlff_core.kernels.triton.padded import PaddedNeighbors, empty_neighbors, padded_neighbors
from mlff_core.kernels.triton.parameters import Parameters, check_size, read_parameters
from mlff_core.kernels.triton.stepper import SEARCHED_EVERY_STEP, Stepper
from mlff_core.kernels.triton.sums import CHUNK
from mlff_core.kernels.weights import WeightVersions
from mlff_core.model.student import Student
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import OVERLAP, EdgeList, edge_vectors, overlap_error
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial

MAX_GRAPHS = 8
"""Number of buckets kept; the least recently used one is removed."""
MAX_GRAPH_ATOMS = 20_000
"""Number of atoms beyond which no graph is used: a step is then so long that launching its kernels one by one costs
little, and a graph would hold memory."""


def bucket(n: int, least: int = 16) -> int:
    """Return ``n`` rounded up to one of a few sizes, by at most an eighth."""
    step = max(least, (1 << (n - 1).bit_length()) // 8)
    return -(-n // step) * step


class TritonKernel:
    """A kernel that computes energy, forces and stress of a PaiNN on a GPU, with hand-written derivatives.

    It copies the weights, and copies them again whenever they have changed. Sizes are rounded up to buckets, and on a
    GPU each bucket is one CUDA graph. Neighbours are sorted into slots once and kept while the same edges are given.

    Parameters
    ----------
    model
        The network, on a GPU (or a CPU, in Triton's interpreter), in float32 or float64.
    fast
        Use tf32 products and store the features that neighbours gather in float16.
    tiling
        Division of the work; None uses the default for the size.
    """

    name = "triton"
    checks_distances = True
    selects_edges = True

    def __init__(self, model: Student, *, fast: bool = False, tiling: Tiling | None = None) -> None:
        check_device(model.scale.device)
        self.name = "triton-fast" if fast else "triton"
        self.model = model
        self.fast = fast
        self.tiling = tiling
        self._weights = WeightVersions(model)
        self.parameters = read_parameters(model, fast=fast)
        self._buckets: OrderedDict[tuple[int, ...], _Bucket] = OrderedDict()
        self._edges: EdgeList | None = None
        self._edge_versions = (0, 0, 0)
        self._padded: PaddedNeighbors | None = None

    def _refresh(self) -> None:
        """Copy the weights again if they have changed."""
        versions = self._weights.current()
        if self._weights.differ(versions):
            self.parameters = read_parameters(self.model, fast=self.fast)
            self._weights.copied(versions)
            self._buckets.clear()

    def stepper(self, batch: AtomicBatch, skin: float) -> Stepper:
        """Return a stepper, which evaluates these structures repeatedly while their atoms and cells move.

        Parameters
        ----------
        batch
            The structures, on the model's device and in its precision.
        skin
            Extra reach of the search, Å; used if the systems are too large to be searched at every step.
        """
        self._refresh()
        is_small = max(batch.atoms_per_system()) <= SEARCHED_EVERY_STEP
        return Stepper(self.parameters, batch, skin=None if is_small else skin, tiling=self.tiling)

    def keeps(self, stepper: object, batch: AtomicBatch) -> bool:
        """Return whether a stepper made before is valid for these structures and the current weights."""
        self._refresh()
        return isinstance(stepper, Stepper) and stepper.parameters is self.parameters and stepper.follows(batch)

    def evaluate(self, batch: AtomicBatch, edges: EdgeList, want: Collection[str]) -> Prediction:
        """Return what is in ``want``: ``"energy"``, ``"forces"``, ``"stress"``, ``"atom_energies"``, ``"charges"``."""
        self._refresh()
        with torch.no_grad(), torch.cuda.device_of(batch.positions):
            species = self.parameters.species_of_number[batch.atomic_numbers.clamp(0, 118)]
            padded = self._neighbors(batch, edges)
            check_size(self.parameters, batch.n_atoms, padded.capacity)
            chosen = self._bucket(batch, padded)
            chosen.fill(batch, species, padded)
            derivatives = "forces" in want or "stress" in want
            outputs = chosen.run(derivatives=derivatives, virial="stress" in want, charges="charges" in want)
            n, s = batch.n_atoms, batch.n_systems
            self._check(batch, edges, species, outputs.closest[:n])
            return Prediction(
                energy=outputs.energy[:s].clone(),
                forces=None if outputs.forces is None or "forces" not in want else outputs.forces[:n].clone(),
                stress=None
                if outputs.virial is None
                else stress_from_virial(outputs.virial[:s].to(batch.dtype), batch.cell),
                atom_energies=outputs.atom_energies[:n].clone() if "atom_energies" in want else None,
                charges=None if outputs.charges is None else outputs.charges[:n].clone(),
            )

    def _neighbors(self, batch: AtomicBatch, edges: EdgeList) -> PaddedNeighbors:
        """Return the edges in slots; the slots of the last call if the edges are the same tensors."""
        old = self._edges
        if (
            old is None
            or self._padded is None
            or len(self._padded.n_candidates) != batch.n_atoms
            or old.centers is not edges.centers
            or old.neighbors is not edges.neighbors
            or old.cell_shifts is not edges.cell_shifts
            or self._edge_versions != _versions_of(edges)
        ):
            self._padded = padded_neighbors(edges, batch.n_atoms)
            self._edges, self._edge_versions = edges, _versions_of(edges)
        return self._padded

    def _bucket(self, batch: AtomicBatch, padded: PaddedNeighbors) -> _Bucket:
        n_atoms, n_systems = batch.n_atoms, batch.n_systems
        if batch.device.type == "cuda" and n_atoms > MAX_GRAPH_ATOMS:
            largest = int(torch.bincount(batch.system_idx, minlength=n_systems).max())
            return _Bucket(self.parameters, (n_atoms, n_systems, padded.capacity, largest), batch.device, self.tiling)
        # One additional system holds the padding atoms.
        n_atoms, n_systems = bucket(n_atoms, least=4 if interpreted() else 16), bucket(n_systems + 1, least=2)
        largest = -(-n_atoms // CHUNK) * CHUNK
        key = (n_atoms, n_systems, bucket(padded.capacity), largest)
        if key not in self._buckets:
            self._buckets[key] = _Bucket(self.parameters, key, batch.device, self.tiling)
            if len(self._buckets) > MAX_GRAPHS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return self._buckets[key]

    def _check(self, batch: AtomicBatch, edges: EdgeList, species: Tensor, closest: Tensor) -> None:
        """Refuse overlapping atoms and elements the model lacks."""
        flags = torch.stack([closest.amin(), species.amin().to(closest.dtype)]).tolist()
        if flags[1] < 0:
            atom = int(species.argmin())
            number = int(batch.atomic_numbers[atom])
            raise UnsupportedError(f"the model does not know atomic number {number}, that of atom {atom}")
        if not flags[0] < OVERLAP**2:
            return
        if not bool(torch.isfinite(batch.positions).all()):
            atom = int((~torch.isfinite(batch.positions).all(dim=1)).nonzero()[0])
            raise InputError(f"positions must be finite, but atom {atom} is at {batch.positions[atom].tolist()} Å")
        vectors = edge_vectors(batch, edges)
        raise overlap_error(batch, edges, int((vectors * vectors).sum(dim=1).argmin()))


def _versions_of(edges: EdgeList) -> tuple[int, int, int]:
    return edges.centers._version, edges.neighbors._version, edges.cell_shifts._version


class _Bucket:
    """Inputs of one size, and the graphs that read them."""

    def __init__(
        self, parameters: Parameters, size: tuple[int, ...], device: torch.device, tiling: Tiling | None
    ) -> None:
        n_atoms, n_systems, capacity, largest = size
        self.parameters = parameters
        self.tiling = tiling
        slots = empty_neighbors(n_atoms, capacity, device)
        self.inputs = PaddedInputs(
            positions=torch.zeros(n_atoms, 3, dtype=parameters.dtype, device=device),
            cell=torch.zeros(n_systems, 3, 3, dtype=parameters.dtype, device=device),
            species=torch.zeros(n_atoms, dtype=torch.int64, device=device),
            system_idx=torch.full((n_atoms,), n_systems - 1, dtype=torch.int64, device=device),
            candidates=slots.candidates,
            shifts=slots.shifts,
            reverse=slots.reverse,
            n_candidates=slots.n_candidates,
            largest=largest,
        )
        self._graphs: dict[tuple[bool, bool, bool], Graph[Outputs]] = {}
        self._holds: PaddedNeighbors | None = None

    def fill(self, batch: AtomicBatch, species: Tensor, padded: PaddedNeighbors) -> None:
        """Copy a batch and its neighbours; padding atoms have no neighbours and belong to the last system.

        Parameters
        ----------
        batch
            The structures.
        species
            Species index of each atom, shape (n_atoms,).
        padded
            Their neighbours.
        """
        n, inputs = batch.n_atoms, self.inputs
        inputs.positions[:n] = batch.positions
        inputs.cell[: batch.n_systems] = batch.cell
        inputs.species[:n] = species.clamp(min=0)
        inputs.system_idx[:n] = batch.system_idx
        inputs.system_idx[n:] = inputs.cell.shape[0] - 1
        if padded is self._holds:
            return
        width = padded.capacity
        inputs.candidates[:n, :width] = padded.candidates
        inputs.shifts[:n, :width] = padded.shifts
        inputs.reverse[:n, :width] = padded.reverse
        inputs.n_candidates[:n] = padded.n_candidates
        inputs.n_candidates[n:] = 0
        self._holds = padded

    def run(self, *, derivatives: bool, virial: bool, charges: bool) -> Outputs:
        """Return the outputs, which the next call overwrites."""
        key = (derivatives, virial, charges)
        if key not in self._graphs:

            def step() -> Outputs:
                return evaluate(
                    self.parameters,
                    self.inputs,
                    derivatives=derivatives,
                    virial=virial,
                    charges=charges,
                    tiling=self.tiling,
                )

            captures = self.inputs.positions.shape[0] <= MAX_GRAPH_ATOMS
            self._graphs[key] = Graph(step, self.inputs.positions.device, captures=captures)
        return self._graphs[key]()
