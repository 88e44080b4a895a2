"""A sequence of kernels as one CUDA graph; on other devices the function is simply called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")
WARM_UP = 2
"""Calls before the capture: the first call compiles kernels and initialises libraries, which cannot be captured."""


class Graph(Generic[T]):
    """A function of tensors at fixed addresses, which is captured at its second call on a GPU and then replayed.

    The first call is not captured, because a capture does not pay for a single evaluation.

    Parameters
    ----------
    function
        Reads and writes the same tensors at every call, and never waits for a number from the GPU.
    device
        Device of the tensors.
    captures
        If False, the function is called without a capture on a GPU too.
    """

    def __init__(self, function: Callable[[], T], device: torch.device, *, captures: bool = True) -> None:
        self._function: Callable[[], T] | None = function
        self.device = device
        self.captures = captures and device.type == "cuda"
        self._was_called = False
        self._graph: Any = None
        self._result: T | None = None

    def __call__(self) -> T:
        """Return the function's result; a replayed graph overwrites it at the next call."""
        if self._function is not None:
            if not self.captures or not self._was_called:
                self._was_called = True
                return self._function()
            self._capture(self._function)
            # The function is usually bound to the object that holds this graph; the cycle would keep GPU memory alive.
            self._function = None
        self._graph.replay()
        assert self._result is not None
        return self._result

    def _capture(self, function: Callable[[], T]) -> None:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = function()
        self._graph = graph
