"""What ``mlff --version`` prints: the versions, and what a model would run on."""

from __future__ import annotations

import os

from mlff_core import __version__


def version_text() -> str:
    """Return the versions of mlff and torch, the device that ``auto`` stands for, and the kernel used there."""
    import torch

    from mlff_core.models.devices import resolve_device

    device = resolve_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"mlff {__version__}\ntorch {torch.__version__}\ndevice {device} ({name})\nkernel {kernel_text(device.type)}"


def kernel_text(device: str) -> str:
    """Return the kernel of a student on a device, ``"cpu"`` or ``"cuda"``; nothing is compiled for it."""
    from importlib.util import find_spec

    from mlff_core.errors import MlffError
    from mlff_core.kernels.build import cache_folder, find_compiler, installed_library, source_hash
    from mlff_core.kernels.cpu_kernel import variants

    if (chosen := os.environ.get("MLFF_KERNEL", "auto")) != "auto":
        return f"{chosen} (MLFF_KERNEL)"
    if device == "cuda":
        return "triton" if find_spec("triton") else "reference (triton is not installed)"
    is_compiled = installed_library().exists() or any(cache_folder().glob(f"mlff_cpu-{source_hash()}-*.so"))
    if not is_compiled:
        return "cpu (compiled at its first use)" if find_compiler() else "reference (no C++ compiler was found)"
    try:
        return f"cpu ({variants()[0]})"
    except MlffError as error:
        return f"reference ({error})"
