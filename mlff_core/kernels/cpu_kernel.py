"""The fused CPU kernel: the network in C++ with a plain C interface (``cpu/api.h``).

All in one file because every class and function here reads or fills the structs of that interface.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from mlff_core.errors import UnsupportedError
from mlff_core.kernels.cpu_interface import library
from mlff_core.kernels.cpu_model import LibraryModel, describe
from mlff_core.kernels.cpu_parameters import N_INTERVALS, constant_numbers, filter_splines, trainable_numbers
from mlff_core.kernels.field import add_field
from mlff_core.kernels.memory import usable_memory
from mlff_core.kernels.parts import Part, sum_parts
from mlff_core.kernels.protocol import Bounds, Watch
from mlff_core.kernels.weights import WeightVersions
from mlff_core.model.architectures import computes_as_written
from mlff_core.model.painn import PaiNN
from mlff_core.model.serving import Serves
from mlff_core.model.student import Student
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import OVERLAP, EdgeList
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial

SERVES = Serves("the CPU kernel", "use kernel='reference'")


def variants() -> list[str]:
    """Return the instruction sets that this processor supports, fastest first."""
    names: bytes = library().mlff_variants()
    return names.decode().split()


def _exact_numbers(model: PaiNN, n_intervals: int) -> Tensor:
    """Return the trainable numbers, shape (n_numbers,), computed in float64 and rounded once."""
    exact = copy.deepcopy(model).cpu().double()
    with torch.no_grad():
        return trainable_numbers(exact, filter_splines(exact, n_intervals)).to(model.scale.dtype)


def as_served(model: Student) -> PaiNN:
    """Return the model, if the kernel supports it.

    Raises
    ------
    UnsupportedError
        The architecture or a term is not supported, or the model does not compute what its class computes.
    """
    SERVES.check(model)
    if not isinstance(model, PaiNN) or not computes_as_written(model):
        raise UnsupportedError(
            f"the CPU kernel computes an unchanged PaiNN, but this is a {type(model).__name__} that computes "
            "something else; use kernel='reference'"
        )
    return model


def packed(student: Student) -> bytes:
    """Return a model as other programs pass it to the library: ``mlff_painn`` of ``cpu/api.h`` and its two arrays.

    The pointers in the struct are null.

    Raises
    ------
    UnsupportedError
        The kernel does not support the model.
    """
    model = as_served(student)
    n_intervals = N_INTERVALS[model.scale.dtype]
    numbers, constants = _exact_numbers(model, n_intervals), constant_numbers(model)
    description = describe(model, numbers, n_intervals, OVERLAP, len(constants))
    return bytes(description) + numbers.numpy().tobytes() + constants.tobytes()


class CPUKernel:
    """A kernel that computes energy, forces and stress of a PaiNN on the CPU, with hand-written derivatives.

    It copies the weights, and copies them again whenever they have changed.

    Parameters
    ----------
    model
        The network, on the CPU in float32 or float64.
    variant
        An instruction set from :func:`variants`; None uses the fastest.
    n_intervals
        Number of intervals of the filters' splines; None uses the default for the precision.
    memory_bytes
        Memory that an evaluation may use; larger systems are evaluated in parts. None allows half of the memory of the
        machine or of the container.
    """

    name = "cpu"
    checks_distances = True
    selects_edges = True

    def __init__(
        self,
        model: Student,
        variant: str | None = None,
        n_intervals: int | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self.model = as_served(model)
        self.memory_bytes = usable_memory() // 2 if memory_bytes is None else memory_bytes
        self._wanted = (variant, n_intervals or N_INTERVALS[self.model.scale.dtype])
        self._weights = WeightVersions(self.model)
        self._bounds: Bounds | None = None
        self._watch: Watch | None = None
        self._handle = self._made()

    def _made(self) -> LibraryModel:
        variant, n_intervals = self._wanted
        made = LibraryModel(self.model, _exact_numbers(self.model, n_intervals), variant, n_intervals, OVERLAP)
        if self._bounds is not None:
            made.bound(self._bounds)
        return made

    def keep_watch(self, bounds: Bounds, watch: Watch) -> None:
        """Call ``watch`` after every evaluation in which an atom is outside the bounds."""
        self._bounds, self._watch = bounds, watch
        self._handle.bound(bounds)

    @property
    def variant(self) -> str:
        """The instruction set in use."""
        return self._handle.variant

    def evaluate(self, batch: AtomicBatch, edges: EdgeList, want: Collection[str]) -> Prediction:
        """Return what is in ``want``: ``"energy"``, ``"forces"``, ``"stress"``, ``"atom_energies"``, ``"charges"``."""
        return self._evaluated(batch, edges, want, None)

    def evaluate_in_field(self, batch: AtomicBatch, edges: EdgeList, potentials: Tensor) -> Prediction:
        """Return energies, forces and charges in outer potentials, shape (n_atoms,), eV/e; in one pass."""
        potentials = potentials.double().contiguous()
        found = self._evaluated(batch, edges, ("energy", "forces", "charges"), potentials)
        return add_field(found, batch, potentials)

    def _evaluated(
        self, batch: AtomicBatch, edges: EdgeList, want: Collection[str], potentials: Tensor | None
    ) -> Prediction:
        """Return what is wanted, with forces that contain the potentials' share, but energies that do not."""
        versions = self._weights.current()
        if self._weights.differ(versions):
            self._handle = self._made()
            self._weights.copied(versions)
        n_atoms = batch.n_atoms
        energy = torch.empty(batch.n_systems, dtype=torch.float64)
        atom_energies = torch.empty(n_atoms, dtype=torch.float64) if "atom_energies" in want else None
        charges = torch.empty(n_atoms, dtype=torch.float64) if "charges" in want else None
        forces = torch.empty((n_atoms, 3), dtype=batch.dtype) if "forces" in want else None
        virial = torch.empty((batch.n_systems, 3, 3), dtype=batch.dtype) if "stress" in want else None
        outputs: dict[str, Any] = {
            "energy": energy,
            "atom_energies": atom_energies,
            "charges": charges,
            "forces": forces,
            "virial": virial,
        }
        is_outside = self._fill(batch, edges, outputs, potentials)
        if is_outside and self._watch is not None and not self._watch.is_done:
            if atom_energies is None:
                outputs["atom_energies"] = torch.empty(n_atoms, dtype=torch.float64)
                self._fill(batch, edges, {"atom_energies": outputs["atom_energies"]})
            self._watch.look(batch, edges, outputs["atom_energies"], forces)
        return Prediction(
            energy=energy,
            forces=forces,
            stress=None if virial is None else stress_from_virial(virial, batch.cell.detach()),
            atom_energies=atom_energies,
            charges=None if charges is None else charges.to(batch.dtype),
        )

    def _fill(
        self, batch: AtomicBatch, edges: EdgeList, outputs: dict[str, Any], potentials: Tensor | None = None
    ) -> bool:
        """Fill the outputs, in parts where memory is short; return whether an atom is outside the bounds."""
        if self._fits(batch.n_atoms, edges.n_edges):
            return self._handle.call(batch, edges, charge_cotangents=potentials, **outputs)

        def evaluate(batch: AtomicBatch, edges: EdgeList, *, part: Part, **own: Tensor) -> bool:
            factors = None if potentials is None else potentials[part.atoms]
            return self._handle.call(batch, edges, part=part, charge_cotangents=factors, **own)

        return sum_parts(batch, edges, self.model.config.n_layers, outputs, self._fits, evaluate)

    def needed_bytes(self, n_atoms: int, n_edges: int) -> int:
        """Return the working memory of an evaluation for so many atoms and directed edges, bytes."""
        return self._handle.needed_bytes(n_atoms, n_edges)

    def _fits(self, n_atoms: int, n_edges: int) -> bool:
        return self.needed_bytes(n_atoms, n_edges) <= self.memory_bytes
