"""Draw structures to start from, always the same: ``python pick_starts.py IN.extxyz… OUT.extxyz N MOST [KIND]``."""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np


def main() -> None:
    *sources, target, count, most, kind = sys.argv[1:] if sys.argv[-2].isdigit() else [*sys.argv[1:], ""]
    found = [atoms for source in sources for atoms in ase.io.read(source, ":")]
    fitting = [atoms for atoms in found if len(atoms) <= int(most) and kind in ("", atoms.info.get("kind"))]
    drawn = np.random.default_rng(0).permutation(len(fitting))[: int(count)]
    ase.io.write(Path(target), [fitting[k] for k in drawn])


if __name__ == "__main__":
    main()
