"""A sequence of kernels as one CUDA graph; elsewhere the same function, called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")
WARM_UP = 2
"""Calls before the capture: the first one compiles kernels and sets up libraries, which no graph may hold."""


class Graph(Generic[T]):
    """A function of tensors that stay in their places, captured at its second call on a GPU and replayed from then on.

    The first call is a plain one: what is evaluated once is not worth a capture.

    Parameters
    ----------
    function
        Reads and writes the same tensors at every call, and asks the GPU for no number.
    device
        Where it works.
    captures
        False calls it plainly on a GPU too.
    """

    def __init__(self, function: Callable[[], T], device: torch.device, *, captures: bool = True) -> None:
        self._function: Callable[[], T] | None = function
        self.device = device
        self.captures = captures and device.type == "cuda"
        self._was_called = False
        self._graph: Any = None
        self._result: T | None = None

    def __call__(self) -> T:
        """Return the function's result; from a graph it is overwritten by the next call."""
        if self._function is not None:
            if not self.captures or not self._was_called:
                self._was_called = True
                return self._function()
            self._capture(self._function)
            # Most functions are bound to what holds this graph; as a cycle it would keep the GPU's memory for long.
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
