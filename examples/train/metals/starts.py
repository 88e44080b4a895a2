"""Write the list of crystals of the metals: every element and every pair of them, ordered and at random places.

    python starts.py > metals.crystals

Lattice constants of the elements are those of experiment at room temperature. An alloy has the mean volume of an atom
of its elements, and an element has the same volume on every lattice. The strains of the recipe are wider than the error
of both.
"""

from __future__ import annotations

from itertools import combinations

LATTICE_CONSTANTS = {"Al": 4.050, "Ni": 3.524, "Cu": 3.615, "Pd": 3.891, "Ag": 4.086, "Pt": 3.924, "Au": 4.078}
"""Of the face-centred cubic crystals, Å."""

RATIO = (8 / 3) ** 0.5
"""c/a of hexagonal close packing."""


def volume(counts: dict[str, int]) -> float:
    """Return the mean volume of an atom, Å³."""
    return sum(n * LATTICE_CONSTANTS[symbol] ** 3 / 4 for symbol, n in counts.items()) / sum(counts.values())


def line(counts: dict[str, int], prototype: str) -> str:
    """Return a line of the list."""
    formula = "".join(symbol + (str(n) if n > 1 else "") for symbol, n in counts.items())
    v = volume(counts)
    if prototype == "hcp":
        # Two atoms in √3/2 · a² · c.
        a = (2 * v / (3**0.5 / 2 * RATIO)) ** (1 / 3)
        return f"{formula} hcp {a:.3f} {RATIO * a:.3f}"
    atoms = {"fcc": 4, "L1_2": 4, "L1_0": 4, "bcc": 2, "cesiumchloride": 2}[prototype]
    return f"{formula} {prototype} {(atoms * v) ** (1 / 3):.3f}"


def main() -> None:
    for symbol in LATTICE_CONSTANTS:
        for prototype in ("fcc", "bcc", "hcp"):
            print(line({symbol: 1}, prototype))
    for a, b in combinations(LATTICE_CONSTANTS, 2):
        for counts in ({a: 3, b: 1}, {a: 1, b: 1}, {a: 1, b: 3}):
            even = counts[a] == counts[b]
            for prototype in ("fcc", "L1_0" if even else "L1_2", "cesiumchloride" if even else "hcp", "bcc"):
                print(line(counts, prototype))
        for counts in ({a: 7, b: 1}, {a: 1, b: 7}):
            print(line(counts, "fcc"))


if __name__ == "__main__":
    main()
