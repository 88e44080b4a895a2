"""Draw structures to start from, always the same: ``python pick_starts.py IN.extxyz OUT.extxyz COUNT MOST_ATOMS``."""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np


def main() -> None:
    source, target, count, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    small = [atoms for atoms in ase.io.read(source, ":") if len(atoms) <= most]
    drawn = np.random.default_rng(0).permutation(len(small))[:count]
    ase.io.write(Path(target), [small[k] for k in drawn])


if __name__ == "__main__":
    main()
