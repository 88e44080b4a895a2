"""A sequence of kernels as one CUDA graph; elsewhere the same function, called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")
WARM_UP = 2
"""Calls before the capture: the first one compiles kernels and sets up libraries, which no graph may hold."""


class Graph(Generic[T]):
    """A function of tensors that stay in their places, captured at its first call on a GPU and replayed from then on.

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
        self.function = function
        self.device = device
        self.captures = captures and device.type == "cuda"
        self._graph: Any = None
        self._result: T | None = None

    def __call__(self) -> T:
        """Return the function's result; from a graph it is overwritten by the next call."""
        if not self.captures:
            return self.function()
        if self._graph is None:
            self._capture()
        self._graph.replay()
        assert self._result is not None
        return self._result

    def _capture(self) -> None:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.function()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self.function()
        self._graph = graph
