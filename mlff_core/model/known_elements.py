"""Which atomic numbers a student knows, asked inside the graphs that other programs run.

No postponed annotations here: TorchScript reads them.
"""

from typing import List  # noqa: UP035 - TorchScript

import torch
from torch import Tensor, nn

TABLE = 120
"""Rows: atomic numbers 0 to 118, and one for all that lie outside."""


class KnownElements(nn.Module):
    """Tells known atomic numbers from others, whatever integer comes.

    The species index −1 of an unknown element cannot serve inside an exported graph: where PyTorch raises, ONNX Runtime
    and AOTInductor read an index from the end of a table, and gave the energy of the model's last element.

    Parameters
    ----------
    elements
        Atomic numbers of the model.
    """

    known: Tensor
    elements: List[int]  # noqa: UP006

    def __init__(self, elements: tuple[int, ...]) -> None:
        super().__init__()
        known = torch.zeros(TABLE, dtype=torch.int64)
        known[list(elements)] = 1
        self.register_buffer("known", known, persistent=False)
        self.first = elements[0]
        self.last_row = TABLE - 1  # TorchScript sees attributes, not globals
        self.elements = list(elements)

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        """Return which atoms are of no element of the model, shape (n_atoms,), bool.

        Parameters
        ----------
        atomic_numbers
            Any integers, shape (n_atoms,), int64.
        """
        row = torch.where(atomic_numbers < 0, self.last_row, atomic_numbers).clamp(max=self.last_row)
        return self.known.index_select(0, row) == 0

    def refuse(self, atomic_numbers: Tensor) -> None:
        """Refuse elements that the model does not know; for TorchScript, which can raise.

        Parameters
        ----------
        atomic_numbers
            Any integers, shape (n_atoms,), int64.
        """
        unknown = self(atomic_numbers)
        if bool(unknown.any()):
            wrong: List[int] = []  # noqa: UP006
            for z in torch.unique(atomic_numbers[unknown]):
                wrong.append(int(z))  # noqa: PERF401 - TorchScript
            raise RuntimeError(
                f"the model does not know the atomic numbers {wrong}; it was made for {self.elements}. "
                "Use a model made for these elements"
            )
