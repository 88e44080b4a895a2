"""The CPU kernel's C interface (``cpu/api.h``) in ctypes."""

from __future__ import annotations

import ctypes

from mlff_core.kernels.build import BuildError, load_library

ABI = 5
OVERLAP_FOUND, UNKNOWN_ELEMENT, BAD_INDEX, NOT_FINITE = 1, 2, 3, 4
"""Error codes of ``cpu/api.h``."""


class NetworkStruct(ctypes.Structure):
    """The C struct ``mlff_painn``, a network."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("abi", "is_double", "hidden", "n_layers", "n_species", "n_readout")),
        ("n_intervals", ctypes.c_int32),
        *((name, ctypes.c_int32) for name in ("shared_filters", "n_charge")),
        *((name, ctypes.c_double) for name in ("cutoff", "smoothing", "scale", "overlap", "core")),
        ("n_parameters", ctypes.c_int64),
        ("parameters", ctypes.c_void_p),
        ("n_constants", ctypes.c_int64),
        ("constants", ctypes.c_void_p),
    )


class BatchStruct(ctypes.Structure):
    """The C struct ``mlff_batch``, a batch and its outputs."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("n_atoms", "n_systems", "n_edges")),
        *((name, ctypes.c_void_p) for name in ("positions", "cell", "atomic_numbers", "system_idx")),
        *((name, ctypes.c_void_p) for name in ("centers", "neighbors", "cell_shifts")),
        ("n_threads", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("energy", "atom_energies", "charges")),
        *((name, ctypes.c_void_p) for name in ("forces", "virial", "cotangents", "charge_cotangents")),
        *((name, ctypes.c_void_p) for name in ("gradient", "n_centers")),
        ("culprit", ctypes.c_int64),
    )


def library() -> ctypes.CDLL:
    """Return the kernel's library with typed functions; compiles it if necessary.

    Raises
    ------
    BuildError
        There is no compiler, or it failed.
    """
    lib = load_library()
    if lib.mlff_abi() != ABI:
        raise BuildError(f"the CPU kernel's library has interface {lib.mlff_abi()}, wanted {ABI}; install it again")
    lib.mlff_painn_create.restype = ctypes.c_void_p
    lib.mlff_painn_create.argtypes = [ctypes.POINTER(NetworkStruct), ctypes.c_char_p]
    lib.mlff_painn_refresh.restype = ctypes.c_int32
    lib.mlff_painn_refresh.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    lib.mlff_painn_bound.restype = ctypes.c_int32
    lib.mlff_painn_bound.argtypes = [*[ctypes.c_void_p] * 4, ctypes.c_double]
    lib.mlff_painn_destroy.restype = None
    lib.mlff_painn_destroy.argtypes = [ctypes.c_void_p]
    lib.mlff_painn_variant.restype = ctypes.c_char_p
    lib.mlff_painn_variant.argtypes = [ctypes.c_void_p]
    lib.mlff_variants.restype = ctypes.c_char_p
    lib.mlff_painn_needed_bytes.restype = ctypes.c_int64
    lib.mlff_painn_needed_bytes.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3]
    lib.mlff_painn_evaluate.restype = ctypes.c_int32
    lib.mlff_painn_evaluate.argtypes = [ctypes.c_void_p, ctypes.POINTER(BatchStruct)]
    return lib
