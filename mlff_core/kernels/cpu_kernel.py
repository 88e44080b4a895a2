"""The fused CPU kernel: the same network in C++, behind a plain C interface (``cpu/api.h``)."""

from __future__ import annotations

import copy
import ctypes
import weakref
from collections.abc import Collection

import torch
from torch import Tensor

from mlff_core.batch import AtomicBatch
from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.kernels.build import BuildError, load_library
from mlff_core.kernels.cpu_parameters import N_INTERVALS, constant_numbers, filter_splines, trainable_numbers
from mlff_core.kernels.reference import stress_from_virial
from mlff_core.model.painn import PaiNN
from mlff_core.neighbors import OVERLAP, EdgeList, overlap_error
from mlff_core.prediction import Prediction

ABI = 2
OVERLAP_FOUND, UNKNOWN_ELEMENT, BAD_INDEX, NOT_FINITE = 1, 2, 3, 4
"""Of ``cpu/api.h``."""


class _Description(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("abi", "is_double", "hidden", "n_layers", "n_species", "n_readout")),
        ("n_intervals", ctypes.c_int32),
        ("shared_filters", ctypes.c_int32),
        *((name, ctypes.c_double) for name in ("cutoff", "smoothing", "scale", "overlap")),
        ("n_parameters", ctypes.c_int64),
        ("parameters", ctypes.c_void_p),
        ("n_constants", ctypes.c_int64),
        ("constants", ctypes.c_void_p),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("n_atoms", "n_systems", "n_edges")),
        *((name, ctypes.c_void_p) for name in ("positions", "cell", "atomic_numbers", "system_idx")),
        *((name, ctypes.c_void_p) for name in ("centers", "neighbors", "cell_shifts")),
        ("n_threads", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("energy", "atom_energies", "forces", "virial")),
        *((name, ctypes.c_void_p) for name in ("cotangents", "gradient")),
        ("culprit", ctypes.c_int64),
    )


def library() -> ctypes.CDLL:
    """Return the kernel's library with its functions typed, built if need be.

    Raises
    ------
    BuildError
        There is no compiler, or it failed.
    """
    lib = load_library()
    if lib.mlff_abi() != ABI:
        raise BuildError(f"the CPU kernel's library has interface {lib.mlff_abi()}, wanted {ABI}; install it anew")
    lib.mlff_painn_create.restype = ctypes.c_void_p
    lib.mlff_painn_create.argtypes = [ctypes.POINTER(_Description), ctypes.c_char_p]
    lib.mlff_painn_refresh.restype = ctypes.c_int32
    lib.mlff_painn_refresh.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    lib.mlff_painn_destroy.restype = None
    lib.mlff_painn_destroy.argtypes = [ctypes.c_void_p]
    lib.mlff_painn_variant.restype = ctypes.c_char_p
    lib.mlff_painn_variant.argtypes = [ctypes.c_void_p]
    lib.mlff_variants.restype = ctypes.c_char_p
    lib.mlff_painn_evaluate.restype = ctypes.c_int32
    lib.mlff_painn_evaluate.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Batch)]
    return lib


def variants() -> list[str]:
    """Return the instruction sets this processor can run, fastest first."""
    names: bytes = library().mlff_variants()
    return names.decode().split()


def computes_as_written(model: PaiNN) -> bool:
    """Return False for a subclass, or a model with hooks or replaced functions: the kernel would not see those."""
    return type(model) is PaiNN and not any(
        "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks for module in model.modules()
    )


class LibraryModel:
    """A model inside the library; freed with the last call that uses it.

    Parameters
    ----------
    model
        The network.
    numbers
        Its trainable numbers in its precision, shape (n_numbers,), no unit; see
        :func:`~mlff_core.kernels.cpu_parameters.trainable_numbers`.
    variant
        An instruction set out of :func:`variants`; None takes the fastest.
    n_intervals
        Pieces of the filters' splines.
    overlap
        Distance below which atoms are refused, Å.
    """

    def __init__(self, model: PaiNN, numbers: Tensor, variant: str | None, n_intervals: int, overlap: float) -> None:
        self.library = library()
        config = model.config
        constants = constant_numbers(model)
        description = _Description(
            abi=ABI,
            is_double=numbers.dtype == torch.float64,
            hidden=config.hidden,
            n_layers=config.n_layers,
            n_species=len(config.elements),
            n_readout=config.hidden // 2,
            n_intervals=n_intervals,
            shared_filters=config.shared_filters,
            cutoff=config.cutoff,
            smoothing=model.updates[0].smoothing,
            scale=float(model.scale),
            overlap=overlap,
            n_parameters=len(numbers),
            parameters=numbers.data_ptr(),
            n_constants=len(constants),
            constants=constants.ctypes.data,
        )
        self.address = self.library.mlff_painn_create(
            ctypes.byref(description), None if variant is None else variant.encode()
        )
        if not self.address:
            raise UnsupportedError(f"the CPU kernel cannot hold this model (variant {variant}); use kernel='reference'")
        self.variant: str = self.library.mlff_painn_variant(self.address).decode()
        weakref.finalize(self, self.library.mlff_painn_destroy, self.address)

    def refresh(self, numbers: Tensor) -> None:
        """Replace the trainable numbers by others, shape (n_numbers,), no unit, while no evaluation is under way."""
        status = self.library.mlff_painn_refresh(self.address, numbers.data_ptr(), len(numbers))
        assert status == 0, "the numbers of one network always fit it"

    def call(
        self,
        batch: AtomicBatch,
        edges: EdgeList,
        *,
        energy: Tensor | None = None,
        atom_energies: Tensor | None = None,
        forces: Tensor | None = None,
        virial: Tensor | None = None,
        cotangents: Tensor | None = None,
        gradient: Tensor | None = None,
    ) -> None:
        """Fill the outputs that are given, all of them contiguous.

        Parameters
        ----------
        batch, edges
            The structures.
        energy, atom_energies
            Shape (n_systems,) and (n_atoms,), eV, float64.
        forces
            Shape (n_atoms, 3), eV/Å.
        virial
            −dE/d(strain), shape (n_systems, 3, 3), eV.
        cotangents
            Factors of the atoms' energies in what is differentiated, shape (n_atoms,), no unit, float64.
        gradient
            Of Σ factor · energy in the trainable numbers, shape (n_numbers,), eV.
        """
        positions = batch.positions.detach().contiguous()
        inputs = (
            positions,
            batch.cell.detach().contiguous(),
            batch.atomic_numbers.contiguous(),
            batch.system_idx.contiguous(),
            edges.centers.contiguous(),
            edges.neighbors.contiguous(),
            edges.cell_shifts.to(positions.dtype).contiguous(),
        )
        others = (energy, atom_energies, forces, virial, cotangents, gradient)
        call = _Batch(
            batch.n_atoms,
            batch.n_systems,
            edges.n_edges,
            *(tensor.data_ptr() for tensor in inputs),
            torch.get_num_threads(),
            *(None if tensor is None else tensor.data_ptr() for tensor in others),
            -1,
        )
        status = self.library.mlff_painn_evaluate(self.address, ctypes.byref(call))
        if status:
            raise _error(status, call.culprit, batch, edges)


class CPUKernel:
    """Energy, forces and stress of a PaiNN on the CPU, with the derivative written out.

    Takes a copy of the weights, and a fresh one whenever they have changed.

    Parameters
    ----------
    model
        The network, on the CPU in float32 or float64.
    variant
        An instruction set out of :func:`variants`; None takes the fastest.
    n_intervals
        Pieces of the filters' splines; None takes what suits the precision.
    """

    name = "cpu"
    checks_distances = True
    selects_edges = True

    def __init__(self, model: PaiNN, variant: str | None = None, n_intervals: int | None = None) -> None:
        if not computes_as_written(model):
            raise UnsupportedError(
                f"the CPU kernel computes a PaiNN as it is written, but this is a {type(model).__name__} that computes "
                "something else; use kernel='reference'"
            )
        self.model = model
        self._wanted = (variant, n_intervals or N_INTERVALS[model.scale.dtype])
        self._tensors = [*model.parameters(), *model.buffers()]
        self._versions = self._read_versions()
        self._handle = self._made()

    def _made(self) -> LibraryModel:
        variant, n_intervals = self._wanted
        # Made in float64 and rounded once.
        exact = copy.deepcopy(self.model).cpu().double()
        with torch.no_grad():
            numbers = trainable_numbers(exact, filter_splines(exact, n_intervals)).to(self.model.scale.dtype)
        return LibraryModel(self.model, numbers, variant, n_intervals, OVERLAP)

    @property
    def variant(self) -> str:
        """The instruction set in use."""
        return self._handle.variant

    def _read_versions(self) -> list[int]:
        return [tensor._version for tensor in self._tensors]

    def evaluate(self, batch: AtomicBatch, edges: EdgeList, want: Collection[str]) -> Prediction:
        """Return what is in ``want`` (``"energy"``, ``"forces"``, ``"stress"``, ``"atom_energies"``)."""
        versions = self._read_versions()
        if versions != self._versions:
            self._handle = self._made()
            self._versions = versions
        handle, n_atoms = self._handle, batch.n_atoms
        energy = torch.empty(batch.n_systems, dtype=torch.float64)
        atom_energies = torch.empty(n_atoms, dtype=torch.float64) if "atom_energies" in want else None
        forces = torch.empty((n_atoms, 3), dtype=batch.dtype) if "forces" in want else None
        virial = torch.empty((batch.n_systems, 3, 3), dtype=batch.dtype) if "stress" in want else None
        handle.call(batch, edges, energy=energy, atom_energies=atom_energies, forces=forces, virial=virial)
        return Prediction(
            energy=energy,
            forces=forces,
            stress=None if virial is None else stress_from_virial(virial, batch.cell.detach()),
            atom_energies=atom_energies,
        )


def _error(status: int, culprit: int, batch: AtomicBatch, edges: EdgeList) -> MlffError:
    """Return what went wrong in the library, in the words the rest of the package uses."""
    if status == OVERLAP_FOUND:
        return overlap_error(batch, edges, culprit)
    if status == UNKNOWN_ELEMENT:
        number = int(batch.atomic_numbers[culprit])
        return UnsupportedError(f"the model does not know atomic number {number}, that of atom {culprit}")
    if status == NOT_FINITE:
        return InputError(f"positions must be finite, but atom {culprit} is at {batch.positions[culprit].tolist()} Å")
    if status == BAD_INDEX:
        return InputError(f"centers, neighbors and system_idx must be indices of the batch; entry {culprit} is not")
    return UnsupportedError(f"the CPU kernel found no memory for {batch.n_atoms} atoms and {edges.n_edges} edges")
