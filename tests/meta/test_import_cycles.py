"""No module imports itself by way of others, imports inside functions and for type checking included."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imports(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """Return the modules of a package that each of its modules imports."""
    files = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: {other for other in _named(path, files) if other != name} for name, path in files.items()}


def _named(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in files:
                    yield inner
                elif node.module in files:
                    yield node.module


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one circle, the first again at the end; nothing where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", ["mlff_core", "mlff_plugins"])
def test_no_modules_import_each_other_in_a_circle(package):
    graph = imports(package)
    assert len(graph) > 50
    assert cycle(graph) == []


def test_a_circle_through_a_function_and_a_type_is_found(tmp_path):
    room = tmp_path / "house" / "room"
    room.mkdir(parents=True)
    (room.parent / "__init__.py").write_text("")
    (room / "__init__.py").write_text("from house.room.chair import Chair\n")
    (room / "chair.py").write_text("def sit():\n    from house.room import table\n")
    (room / "table.py").write_text("if TYPE_CHECKING:\n    from house.room import Chair\n")
    assert set(cycle(imports("house", tmp_path))) == {"house.room", "house.room.chair", "house.room.table"}
