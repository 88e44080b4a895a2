"""``python -m benchmarks`` lists the benchmarks; ``python -m benchmarks NAME …`` runs one, ``NAME --help`` explains it.

A benchmark is a module with a function ``main`` in one of the folders. Its name is the file name, and its line in the
list is the first line of the docstring. Only the benchmark that runs is imported.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
GROUPS = ("speed", "training", "engines", "physics", "peers", ".")
"""Folders in the order of the list; the last one is this folder."""


def benchmarks() -> dict[str, tuple[str, str, str]]:
    """Return group, module and first line of each benchmark, by name."""
    found = {}
    for group in GROUPS:
        for path in sorted((HERE / group).glob("*.py")):
            tree = ast.parse(path.read_text())
            is_one = any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
            if not is_one or path == HERE / "__main__.py":
                continue
            name = group if path.stem == "__main__" else path.stem
            package = "benchmarks" if group == "." else f"benchmarks.{group}"
            line = (ast.get_docstring(tree) or "").split("\n", 1)[0].split(": ``", 1)[0].rstrip(".")
            found[name] = ("results" if group == "." else group, f"{package}.{path.stem}", line)
    return found


def main() -> None:
    """List the benchmarks, or run one of them."""
    found = benchmarks()
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        before = None
        for name, (group, _, line) in found.items():
            if group != before:
                print(f"{group}:")
            before = group
            print(f"  {name:20s} {line}")
        print("\npython -m benchmarks NAME --help explains one; benchmarks/README.md says which file each writes.")
        return
    name, *arguments = sys.argv[1:]
    if name not in found:
        sys.exit(f"no benchmark is called {name!r}; python -m benchmarks lists them")
    sys.argv = [f"python -m benchmarks {name}", *arguments]
    sys.exit(importlib.import_module(found[name][1]).main())


if __name__ == "__main__":
    main()
