"""Constants of a module that are exact in every precision to which it is moved."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class ModuleWithConstants(nn.Module):
    """A module that computes its constants again whenever it is moved or cast.

    A buffer that was cast to float32 and then to float64 would have only seven digits, so a model in float64 would
    depend on its earlier precision. A subclass implements :meth:`constants` and calls :meth:`set_constants` after its
    own attributes are set; each constant is then a buffer outside the state dict.
    """

    def constants(self) -> dict[str, Tensor]:
        """Return the constants by name, float64, on the CPU."""
        raise NotImplementedError

    def set_constants(self) -> None:
        """Register the constants as buffers in torch's default precision."""
        for name, exact in self.constants().items():
            self.register_buffer(name, exact.to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ModuleWithConstants":
        super()._apply(fn, recurse)
        for name, exact in self.constants().items():
            moved = self.get_buffer(name)
            setattr(self, name, exact.to(moved.device, moved.dtype))
        return self
