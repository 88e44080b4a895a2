"""Protection of the caller from a package's changes to the process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._tensor_str import printoptions


@contextmanager
def torch_globals_kept(default_dtype: torch.dtype | None = None) -> Iterator[None]:
    """Restore torch's globals and suppress warnings around code that changes or raises them.

    Default dtype, precision of matrix products, print options and the CPU's random state are restored. Other threads
    see the changes meanwhile, so use it only for packages that leave no other way.

    Parameters
    ----------
    default_dtype
        torch's default dtype inside the context.
    """
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    with warnings.catch_warnings(), printoptions(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            if default_dtype is not None:
                torch.set_default_dtype(default_dtype)  # noqa: TID251 - put back below
            yield
        finally:
            torch.set_default_dtype(dtype)  # noqa: TID251 - puts back what a package has set
            torch.set_float32_matmul_precision(precision)
