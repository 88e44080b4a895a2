"""Every tensor that a public function takes is documented with its shape and its unit."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted([*ROOT.glob("mlff_core/**/*.py"), *ROOT.glob("mlff_plugins/**/*.py")])
TENSOR = re.compile(r"\b(Tensor|ndarray|NDArray|ArrayLike)\b")
SHAPE = re.compile(
    r"\((?:n_\w+|\d|m|n|F|3·n_atoms|batch|…)[^)]*,?[^)]*\)|one number|scalar|shape \(\)|same shape|any shape"
)
UNIT = re.compile(
    r"Å|eV|\be\b|no unit|any unit|bohr|hartree|\bnm\b|kJ/mol|kcal/mol|\bfs\b|\bps\b|amu|kelvin|GPa|\bbar\b|cm⁻¹"
    r"|degree|radian"
)


def public_functions(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if isinstance(node, ast.FunctionDef):
                yield node, ast.get_docstring(node) or ""
                continue
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (
                    not method.name.startswith("_") or method.name == "__init__"
                ):
                    owner = node if method.name == "__init__" else method
                    yield method, ast.get_docstring(owner) or ""


def entry_of(name, docstring):
    """Return the text of a parameter's entry, or the whole docstring where there is no such entry."""
    lines = docstring.splitlines()
    for k, line in enumerate(lines):
        if not line.startswith(" ") and name in [part.strip() for part in line.split(":")[0].split(",")]:
            body = []
            for follower in lines[k + 1 :]:
                if follower.strip() and not follower.startswith(" "):
                    break
                body.append(follower)
            return " ".join(body)
    return docstring


def missing_in(path):
    tree = ast.parse(path.read_text())
    for function, docstring in public_functions(tree):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        for argument in arguments:
            if argument.annotation is None or not TENSOR.search(ast.unparse(argument.annotation)):
                continue
            if "Callable" in ast.unparse(argument.annotation):
                continue
            text = entry_of(argument.arg, docstring)
            for what, pattern in (("shape", SHAPE), ("unit", UNIT)):
                if not pattern.search(text):
                    yield f"{path.name}:{function.lineno} {function.name}({argument.arg}) lacks its {what}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_tensor_arguments_state_shape_and_unit(path):
    missing = list(missing_in(path))
    assert not missing, "\n".join(missing)


def test_the_check_finds_a_tensor_without_unit(tmp_path):
    path = tmp_path / "imagined.py"
    entry = "    Parameters\n    ----------\n    x\n        Shape (n_atoms, 3)."
    path.write_text(f'def f(x: Tensor) -> None:\n    """Do.\n\n{entry}\n    """\n')
    assert [line.split()[-1] for line in missing_in(path)] == ["unit"]
    path.write_text(path.read_text().replace("3).", "3), Å."))
    assert not list(missing_in(path))
