"""Draw initial structures, always the same: ``python pick_starts.py IN.extxyz… OUT.extxyz N MOST [--kind KIND]``.

Of all structures of at most MOST atoms, and of KIND if it is given, N are drawn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("target", type=Path)
    parser.add_argument("n", type=int)
    parser.add_argument("most", type=int)
    parser.add_argument("--kind")
    asked = parser.parse_args()
    found = [atoms for source in asked.sources for atoms in ase.io.read(source, ":")]
    fitting = [atoms for atoms in found if len(atoms) <= asked.most and asked.kind in (None, atoms.info.get("kind"))]
    drawn = np.random.default_rng(0).permutation(len(fitting))[: asked.n]
    ase.io.write(asked.target, [fitting[k] for k in drawn])


if __name__ == "__main__":
    main()
