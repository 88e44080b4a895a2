"""Write the ranges of training data on a model's card: ``python examples/train/guard.py MODEL.pt DATA.h5 …``.

Runs the student over all structures of the labelled sets, and writes the ranges of atoms' energies, distances and
forces as ``domain`` on its card. The weights stay as they are, to the bit. ``mlff train`` does this at its end for a
sample of its training data; this script is for models that are older, or that are to be measured on other sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mlff_core.data.reader import Dataset
from mlff_core.training.domain import write_domain


def measure(model: Path, sets: Sequence[Path]) -> None:
    """Measure a model on all structures of labelled sets, and write its file again."""
    with ExitStack() as stack:
        data = [stack.enter_context(Dataset(path)) for path in sets]
        write_domain(model, [(one, np.arange(len(one))) for one in data])


def main() -> None:
    """Read the command line and write the domain."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", nargs="+", type=Path)
    arguments = parser.parse_args()
    measure(arguments.model, arguments.data)


if __name__ == "__main__":
    main()
