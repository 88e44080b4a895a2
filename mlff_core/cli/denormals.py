"""Fast arithmetic for the training commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Round numbers below 1e-38 (tails of filters) to zero within this block: they cost a CPU a fifth of its time.

    The switch is one of the thread, so it is for commands alone, and is set back for whoever calls them from Python.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
