"""Counting of tensor elements, to test how a cost grows on any machine without a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Elements(TorchDispatchMode):
    """Counts the elements of all tensors that torch's operations return while it is active.

    Attributes
    ----------
    n
        Number of elements so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and count the elements of its result."""
        result = operation(*args, **(kwargs or {}))
        outputs = result if isinstance(result, tuple | list) else (result,)
        self.n += sum(output.numel() for output in outputs if isinstance(output, Tensor))
        return result


@contextmanager
def count_elements() -> Iterator[Elements]:
    """Count, inside a ``with``, the elements of all tensors that torch's operations return.

    Examples
    --------
    >>> import torch
    >>> with count_elements() as counted:
    ...     _ = torch.zeros(10) + 1
    >>> counted.n
    20
    """
    with Elements() as counted:
        yield counted
