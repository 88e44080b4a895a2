"""The choice of the kernel that evaluates a student."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable

import torch

from mlff_core.errors import InputError, MissingDependencyError, UnsupportedError
from mlff_core.kernels.build import BuildError, find_compiler
from mlff_core.kernels.compiled import SERVES as COMPILED_SERVES
from mlff_core.kernels.compiled import CompiledKernel, is_cached
from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.kernels.protocol import Kernel
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.student import Student

logger = logging.getLogger("mlff_core.kernels")


def _triton(model: Student, *, fast: bool = False) -> Kernel:
    from mlff_core.kernels.triton.launch import check_device

    check_device(model.scale.device)
    from mlff_core.kernels.triton.kernel import TritonKernel  # imports triton

    return TritonKernel(model, fast=fast)


KERNELS: dict[str, Callable[[Student], Kernel]] = {
    "reference": ReferenceKernel,
    "cpu": CPUKernel,
    "compiled": CompiledKernel,
    "triton": _triton,
    "triton-fast": functools.partial(_triton, fast=True),
}
"""Every kernel by name, the reference first."""


def choose_kernel(model: Student, name: str = "auto") -> Kernel:
    """Return the kernel with this name; for ``"auto"``, that of ``MLFF_KERNEL`` or the fastest one.

    Raises
    ------
    InputError
        No kernel has this name, or it does not run on the model's device.
    MissingDependencyError
        The kernel was requested by name and cannot be built here, or needs a package that is not installed.
    """
    if name == "auto":
        name = os.environ.get("MLFF_KERNEL", "auto")
    if name == "auto":
        return _fastest(model)
    if name not in KERNELS:
        raise InputError(f"no kernel is called {name!r}; kernels are auto, {', '.join(KERNELS)}")
    device = model.scale.device
    if name == "cpu" and device.type != "cpu":
        raise InputError(
            f"the kernel 'cpu' was requested, but the model is on {device}; use device='cpu' or kernel='auto'"
        )
    return KERNELS[name](model)


def _fastest(model: Student) -> Kernel:
    if model.scale.device.type == "cpu" and model.scale.dtype in (torch.float32, torch.float64):
        try:
            fused = CPUKernel(model)
        except UnsupportedError as error:
            return _without_fused(model, logging.INFO, str(error))
        except BuildError as error:
            return _without_fused(model, logging.WARNING, str(error))
        else:
            _log_once(logging.INFO, f"the CPU kernel is used ({fused.variant})")
            return fused
    if model.scale.device.type == "cuda" and model.scale.dtype in (torch.float32, torch.float64):
        try:
            kernel = _triton(model)
        except (UnsupportedError, InputError) as error:
            _log_once(logging.INFO, f"the reference kernel is used: {error}")
        except MissingDependencyError as error:
            _log_once(logging.WARNING, f"the reference kernel is used: {error}")
        else:
            _log_once(logging.INFO, "the Triton kernel is used")
            return kernel
    return ReferenceKernel(model)


def _without_fused(model: Student, level: int, reason: str) -> Kernel:
    """Return the compiled kernel if it was compiled before, otherwise the reference.

    Opening a model must not take minutes, so nothing is compiled here.
    """
    if is_cached(model):
        try:
            kernel = CompiledKernel(model)
        except BuildError as error:
            reason = f"{reason}; {error}"
        else:
            _log_once(level, f"the compiled kernel is used, some three times faster than the reference: {reason}")
            return kernel
    is_offered = find_compiler() and not COMPILED_SERVES.refusal(model)
    offer = "; MLFF_KERNEL=compiled compiles it once and is some three times faster" if is_offered else ""
    _log_once(level, f"the reference kernel is used, which is some twenty times slower: {reason}{offer}")
    return ReferenceKernel(model)


@functools.cache
def _log_once(level: int, message: str) -> None:
    logger.log(level, message)
